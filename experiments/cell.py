"""One cell of an experiment: train, test, record. `experiments.run` starts it in a process of its own.

python -m experiments.cell outputs/EXP/CELL/config.yaml
"""

from __future__ import annotations

import io
import logging
import os
import resource
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from datamodules.video_matting import VideoMattingDataModule
from experiments.data import make_data
from experiments.evaluation import evaluate, evaluate_constant, measure_cost
from experiments.loggers import make_logger
from experiments.records import (
    CellRecord,
    describe_hardware,
    describe_versions,
    git_commit,
    lock_cell,
    lock_owner,
    write_file,
    write_table,
)
from experiments.stages import beat, make_recipe, pick_device, train_stage
from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet

BUSY = 75  # exit status: another process works on this cell


def main() -> int:
    """Run the cell of the config file named on the command line; 0 if its record is complete."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    if os.environ.get("MATTING_PARENT_PIPE"):
        threading.Thread(target=_die_with_parent, daemon=True).start()
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    folder = path.parent
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.pytorch.*|torch.utils.data.*")
    if getattr(rank_zero_only, "rank", 0):
        train(config, folder, None)  # a further process of a training on several devices
        return 0
    with lock_cell(folder) as free:
        if not free:
            print(f"{folder}: {lock_owner(folder)} works on this cell; wait for it or stop it", file=sys.stderr)
            return BUSY
        return run_cell(config, CellRecord.load(folder))


def run_cell(config: dict[str, Any], record: CellRecord) -> int:
    """Bring one cell to a complete record, or to a failed one with its error in a line.

    Args:
        config: resolved and plain.
        record: who this cell is; is filled and saved.
    """
    record.started = record.started or _now()
    record.versions, record.git_commit = describe_versions(), git_commit()
    record.save()
    try:
        torch.set_num_threads(config["trainer"]["threads"])
        record.hardware = describe_hardware()
        _train_and_test(config, record)
        record.status = "complete"
    except KeyboardInterrupt:
        raise
    except Exception as error:
        with (record.folder / "log.txt").open("a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        record.status = "failed"
        record.error = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        print(f"{record.cell}: {record.error}", file=sys.stderr)
    record.finished = _now()
    record.save()
    return 0 if record.status == "complete" else 1


def train(config: dict[str, Any], folder: Path, logger: Logger | None) -> tuple[MattingNet, nn.Module | None, float]:
    """The trained net, the decoder of restored backgrounds if there is one, and seconds; resumes what was cut off."""
    torch.set_num_threads(config["trainer"]["threads"])
    net = make_net(config)
    decoder, seconds = None, 0.0
    for name, stage in config["recipe"]["stages"].items():
        if stage is not None:
            recipe = make_recipe(stage, net, config["seed"])
            data = make_data(config, stage)
            seconds += train_stage(name, net, recipe, data, stage, config["trainer"], folder, logger)
            decoder = getattr(recipe.objective, "background_decoder", None) or decoder
    return net, decoder, seconds


def make_net(config: dict[str, Any]) -> MattingNet:
    """The untrained net; its weights depend on the seed and on their names alone, but for a pretrained encoder."""
    options = dict(config["model"])
    pretrained = options.pop("pretrained")
    net = build_net(options.pop("name"), **options)
    net.reset_parameters(config["seed"])
    if pretrained:
        encoder: Any = net.get_submodule("backbone")
        encoder.load_imagenet()
    return net


def _train_and_test(config: dict[str, Any], record: CellRecord) -> None:
    folder = record.folder
    device = pick_device(config["trainer"]["accelerator"])
    data = make_data(config, stage=None)
    data.prepare_data(lambda part, done, total: beat(folder / "progress", f"render {part}", done, total))
    data.setup("test")
    if not (folder / "baselines.parquet").is_file():
        _score_baselines(make_net(config), data, device, folder)

    logger = make_logger(config, record)
    net, decoder, seconds = train(config, folder, logger)
    save_model(folder / "model.pt", net, config["model"])

    begin = time.monotonic()
    clips = data.test_dataloader()
    frames = evaluate(
        net,
        clips,
        device,
        decoder,
        folder / "media",
        _Beats(folder / "progress", "test", len(clips)),
        config["one_frame_delay"],
    )
    write_table(folder / "metrics.parquet", frames)
    record.metrics = dict(summarise(frames))
    example = next(iter(clips))
    record.cost = measure_cost(net, example.frames[:1, :1].to(device))
    record.durations = {"train_seconds": seconds, "test_seconds": time.monotonic() - begin}
    record.peak_memory_gib = _peak_memory_gib(device)
    if logger:
        logger.log_metrics({f"test/{name}": value for name, value in summarise(frames).items()})
        logger.finalize("success")


def _score_baselines(net: MattingNet, data: VideoMattingDataModule, device: torch.device, folder: Path) -> None:
    """What a constant matte and the untrained net score: the scale on which a trained net is read."""
    import pandas as pd

    mean_alpha = float(torch.stack([batch.alpha.mean() for batch in data.val_dataloader()]).mean())
    constant = evaluate_constant(data.test_dataloader(), mean_alpha).assign(method="constant alpha")
    untrained = evaluate(net, data.test_dataloader(), device).assign(method="untrained")
    write_table(folder / "baselines.parquet", pd.concat([constant, untrained]))


def summarise(frames: Any) -> dict[str, float]:
    """MAD and MSE × 1e3, dtSSD × 1e2: per frame → clip mean → stratum mean → mean of strata."""
    means = frames.groupby(["stratum", "clip", "scene"])[["mad", "mse", "dtssd"]].mean()
    means = means.groupby("stratum").mean().mean()
    return {name: float(means[name] * scale) for name, scale in (("mad", 1e3), ("mse", 1e3), ("dtssd", 1e2))}


def save_model(path: Path, net: MattingNet, model: dict[str, Any]) -> None:
    """Write weights with the options that rebuild their net; readable with `weights_only=True`."""
    buffer = io.BytesIO()
    torch.save({"model": dict(model), "state_dict": net.state_dict()}, buffer)
    write_file(path, buffer.getvalue())


class _Beats:
    """Counts test clips into the cell's progress file."""

    def __init__(self, path: Path, stage: str, total: int) -> None:
        self.path, self.stage, self.total, self.done = path, stage, total, 0

    def __call__(self, clips: int) -> None:
        self.done += clips
        beat(self.path, self.stage, self.done, self.total)


def _peak_memory_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _die_with_parent(exit_now: Callable[[int], None] = os._exit) -> None:
    """End this process when its parent is gone: the pipe on standard input then closes."""
    # Not through sys.stdin: its lock would be held when the interpreter shuts down.
    while os.read(0, 1):
        pass
    exit_now(143)


if __name__ == "__main__":
    sys.exit(main())
