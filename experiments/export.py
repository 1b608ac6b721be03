"""Write a net as a file that runs without this project, and call it beside the net before it is kept.

    python -m experiments.export checkpoint=outputs/brm_ablation/CELL/model.pt
    python -m experiments.export weights=rvm_mobilenetv3 output=rvm.onnx
    python -m experiments.export model=modnet checkpoint=modnet.ckpt format=torch_export

Inputs: `src` (B, 3, H, W), RGB in [0, 1], `bgr` the plate, `r1i` … the states, zeros at first, `downsample_ratio`.
Outputs: `fgr`, `pha` (B, 1, H, W) in [0, 1], `r1o` … the states for the next frame. The file's metadata say more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from datamodules.files.writing import whole_file
from experiments.command.composing import given_settings, run_hydra
from experiments.command.errors import ends_with_one_line
from experiments.command.quoting import quote_texts
from experiments.inference.exported_check import check
from experiments.inference.exported_files import read_onnx, read_program, write_onnx, write_program
from experiments.inference.saved_nets import named_by_file
from experiments.inference.streaming import Streaming
from experiments.records.cell_record import CellRecord
from experiments.records.identity import short_name
from experiments.records.world import describe_versions, git_commit
from experiments.scoring.request import net_of, setting_name
from lightning_modules.nets.downloads import file_sha256
from lightning_modules.nets.frame_graphs import FrameGraph, frame_graph
from lightning_modules.nets.pretrained import published_file
from lightning_modules.nets.published import published
from lightning_modules.options import check_choice

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2"}


def main() -> int:
    """Export what the command line asks for."""
    quote_texts()
    if not any(word in ("--help", "-h", "--cfg", "-c") for word in sys.argv[1:]):
        sys.argv += named_by_file(given_settings(sys.argv[1:]))
    for error in run_hydra(export, "export"):
        raise error
    return 0


def export(config: DictConfig) -> None:
    """Write the file, compare it, and keep it if it fits.

    Raises:
        ValueError: a setting is none of those that there are, the net cannot be exported, or the file differs.
    """
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    check_choice("format", plain["format"], SUFFIXES)
    if plain["weights"] is not None:
        plain["checkpoint"] = str(published_file(plain["weights"]))
    given = [setting_name(override) for override in HydraConfig.get().overrides.task]
    net, model = net_of({**plain, "onnx": None}, given, Streaming())
    try:
        graph = frame_graph(net)
    except ValueError as error:
        raise ValueError(f"{model['name']} cannot be exported: {error}") from error
    path = output_path(plain, model["name"])
    for note in graph.notes:
        print(f"note      {note}")
    with whole_file(path) as temporary:
        print(f"export    {model['name']} as {plain['format']}", flush=True)
        if plain["format"] == "onnx":
            write_onnx(temporary, graph, metadata(plain, model, graph))
            call = read_onnx(temporary)
        else:
            write_program(temporary, graph, metadata(plain, model, graph))
            call = read_program(temporary, graph.outputs)
        check(call, graph, by_ratio=plain["format"] == "onnx")
    inputs = [*graph.inputs[:-1], "reduced src"] if graph.has_ratio and plain["format"] != "onnx" else graph.inputs
    print(f"written   {path}: {', '.join(inputs)} → {', '.join(graph.outputs)}")


def output_path(plain: dict[str, Any], name: str) -> Path:
    """Where the file goes.

    Raises:
        ValueError: it has the suffix of another format, or is a folder.
    """
    suffix = SUFFIXES[plain["format"]]
    if plain["output"] is None:
        source = Path(plain["checkpoint"]) if plain["checkpoint"] else None
        of_cell = source is not None and source.name == "model.pt"
        label = plain["weights"] or ("none" if source is None else source.parent.name if of_cell else source.stem)
        return Path(plain["output_dir"]) / "export" / (short_name(f"{name},{label}", 200) + suffix)
    path = Path(plain["output"])
    if path.suffix != suffix or path.is_dir():
        raise ValueError(f"output must be a file called …{suffix} for format={plain['format']}, got {path}")
    return path


def metadata(plain: dict[str, Any], model: dict[str, Any], graph: FrameGraph) -> dict[str, str]:
    """What the file says of itself: how it is called, which net it is, where its weights come from."""
    told: dict[str, Any] = {
        "net": model["name"],
        "options": {name: value for name, value in model.items() if name != "name"},
        "normalisation": "none: src and bgr are RGB in [0, 1], the net normalises them itself",
        "states": {f"r{k}": name for k, name in enumerate(graph.states, start=1)},
        "first_frame": "states of zeros; in an ONNX file every side of them may be 1",
        "notes": graph.notes,
        "versions": describe_versions(),
        "commit": git_commit(),
    }
    if graph.has_ratio:
        told["ratio"] = "downsample_ratio (1,) float32 in (0, 1]: side that the net works on / side of the frame"
        if plain["format"] == "torch_export":
            told["ratio"] = "the last input is src reduced by it: interpolate(scale_factor=ratio, mode='bilinear')"
    if plain["checkpoint"] is not None:
        told["checkpoint_sha256"] = file_sha256(Path(plain["checkpoint"]))
        told |= _origin(plain["weights"], Path(plain["checkpoint"]))
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in told.items()
    }


def _origin(weights: str | None, checkpoint: Path) -> dict[str, Any]:
    """Licence and source of published weights; of a cell of ours the record of its training."""
    if weights is not None:
        return {"weights": weights, "licence": published(weights).licence, "source": published(weights).source}
    try:
        record = CellRecord.load(checkpoint.parent)
    except ValueError:
        return {"licence": "unknown: that of the checkpoint"}
    trained = ("experiment", "cell", "arm", "seed", "scale", "config_hash", "git_commit", "finished")
    return {
        "licence": "that of the data it was trained on; the code's is Apache-2.0",
        "trained": {name: getattr(record, name) for name in trained} | {"data": record.data.get("fingerprint")},
    }


if __name__ == "__main__":
    ends_with_one_line(main)
