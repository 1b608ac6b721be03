"""Score one net on one test set, frame by frame as on a video: the table of its metrics, and a record as of a run.

    python -m experiments.evaluate checkpoint=outputs/brm_ablation/CELL/model.pt
    python -m experiments.evaluate model=modnet checkpoint=modnet.ckpt testset=VM_1920x1080 downsample_ratio=0.25
    python -m experiments.evaluate weights=rvm_mobilenetv3 testset=VM_512x288
    python -m experiments.evaluate onnx=net.onnx testset=VM_512x288
    torchrun --nproc_per_node 2 -m experiments.evaluate checkpoint=…    clips are shared out, same figures

Run the same command again after an interruption: it goes on with the next clip.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from datamodules.files.writing import write_file
from experiments.benchmarks.cost import streaming_cost
from experiments.cells.cell import move_aside
from experiments.command.composing import given_settings, run_hydra
from experiments.command.errors import ends_with_one_line
from experiments.command.progress import ClipProgress
from experiments.command.quoting import quote_texts
from experiments.inference.saved_nets import named_by_file
from experiments.inference.streamed_nets import StreamedNet
from experiments.records.cell_record import CellRecord, write_config, write_table
from experiments.records.fingerprints import size_text, what_changed
from experiments.records.locks import lock_cell, lock_owner
from experiments.records.tables import read_table
from experiments.records.world import describe_hardware, now, peak_memory_gib
from experiments.scoring.evaluation import evaluate_clip
from experiments.scoring.media import ClipMedia
from experiments.scoring.request import Evaluation
from experiments.scoring.trained_data import data_overrides, take_data, trained_config
from experiments.statistics.strata import stratum_means, summarise
from lightning_modules.metrics.table import FIGURES, METRICS


def main() -> int:
    """Evaluate what the command line asks for; 0 if its record is complete."""
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    quote_texts()
    for_help, given, trained = ("--help", "-h", "--cfg", "-c"), dict[str, Any](), None
    if not any(argument in for_help for argument in sys.argv[1:]):
        given = given_settings(sys.argv[1:])
        trained = trained_config(given)
        sys.argv += [*named_by_file(given), *(data_overrides(trained, given) if trained else [])]

    def evaluate(config: DictConfig) -> None:
        if not isinstance(config.again, bool):
            raise ValueError(f"again must be true or false, got {config.again!r}")
        if trained is not None:
            take_data(config, trained, given)
            say(f"data      of the run that left {config.checkpoint}; data=… or testset=… names others", rank)
        asked = Evaluation(config, HydraConfig.get(), int(os.environ.get("LOCAL_RANK", 0)))
        if ranks > 1:
            dist.init_process_group("gloo", timeout=timedelta(days=7))  # others may still work on a long clip
        try:
            run(asked, config.again, rank, ranks)
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()

    for error in run_hydra(evaluate, "evaluate"):
        raise error
    return 0


def run(asked: Evaluation, again: bool = False, rank: int = 0, ranks: int = 1) -> None:
    """Score the clips that are not scored yet, its share on each rank; rank 0 writes the record and the table.

    Raises:
        ValueError: the folder holds another evaluation, or another process works in it.
    """
    with ExitStack() as stack:
        begin = time.monotonic()
        todo = None
        if rank == 0:
            set_other_data_aside(asked, again)
            asked.folder.mkdir(parents=True, exist_ok=True)
            if stack.enter_context(lock_cell(asked.folder)) is None:
                raise ValueError(f"{asked.folder}: {lock_owner(asked.folder)} works on it; wait for it or stop it")
            todo = prepare(asked, again)
        todo = _from_rank_0(todo, ranks)
        if todo is None:
            say(f"skip      {asked.folder}: complete; again=true evaluates anew", rank)
        else:
            say(f"evaluate  {asked.folder}", rank)
            try:
                score_clips(asked, todo[rank::ranks], rank, ranks)
            except Exception as error:
                _mark_failed(asked, error)
                raise
            if ranks > 1:
                dist.barrier()
            if rank == 0:
                finish(asked, time.monotonic() - begin)
        if rank == 0:
            print((asked.folder / "scores.md").read_text(encoding="utf-8"))


def set_other_data_aside(asked: Evaluation, again: bool) -> None:
    """Move what was scored in its folder, of other data under the same settings, to where no report reads it.

    Raises:
        ValueError: another process works in the folder.
    """
    if again or not (asked.folder / "record.json").is_file():
        return
    earlier = earlier_record(asked)
    if earlier.config_hash == asked.hash() and earlier.data.get("fingerprint") != asked.data["fingerprint"]:
        changed = what_changed(earlier.data, asked.data) if earlier.data else "which ones was not recorded"
        aside = move_aside(asked.folder, earlier)
        print(
            f"changed   {asked.folder} was scored on other data: {changed}; it is now {aside.name}, all is scored anew"
        )


def prepare(asked: Evaluation, again: bool) -> list[int] | None:
    """Numbers of the clips that are to be scored, the record being written as running; None if all is done."""
    folder, parts = asked.folder, asked.folder / "parts"
    record, earlier = asked.record(), None
    if (folder / "record.json").is_file() and not again:
        earlier = earlier_record(asked)
        if earlier.config_hash != record.config_hash:
            raise ValueError(f"{folder} holds an evaluation with other settings; give another name=, or again=true")
        if earlier.status == "complete" and (folder / "scores.md").is_file():
            try:
                earlier.check()
            except ValueError as error:
                print(f"damaged   {error}; all clips are scored anew", flush=True)
            else:
                return None
    else:
        for path in (parts, folder / "media"):
            shutil.rmtree(path, ignore_errors=True)
        for name in ("metrics.parquet", "record.json", "scores.md", "scores.csv"):
            (folder / name).unlink(missing_ok=True)
    record.started = earlier.started if earlier else now()
    record.durations = dict(earlier.durations) if earlier else {}
    record.hardware = describe_hardware()
    write_config(folder / "config.yaml", asked.config)
    record.save()
    return [i for i in range(len(asked.clips)) if not is_scored(asked, i)]


def score_clips(asked: Evaluation, numbers: Sequence[int], rank: int = 0, ranks: int = 1) -> None:
    """Score some clips and write a table for each; it is there whole or not at all, and of the data asked for.

    Raises:
        ValueError: a clip's data changed meanwhile, or the memory is too small.
    """
    strata = [clip.stratum for clip in asked.clips]
    num_frames = sum(asked.clips[i].num_frames for i in numbers)
    share = "" if ranks == 1 else f" of process 1 of {ranks}"
    # On a CPU the figures are those of the net as it is, to the last bit; on CUDA but for the rounding of folded norms.
    net = StreamedNet(asked.net, exact=True) if asked.device.type == "cuda" else asked.net
    with ClipProgress(len(numbers), num_frames, f"clips{share}", shown=rank == 0) as progress:
        for i in numbers:
            clip = asked.clips[i]
            media = ClipMedia.of(asked.folder / "media", clip, strata[:i].count(clip.stratum))
            try:
                table = evaluate_clip(
                    net, clip, asked.device, asked.how, asked.scoring, media=media, progress=progress.add_frames
                )
            except torch.OutOfMemoryError as error:
                raise ValueError(f"{clip.key}: out of memory; give chunk=1 or a smaller size") from error
            if changed := asked.changed_data(clip):
                raise ValueError(f"{clip.key}: data changed while they were scored: {changed}; run the command again")
            write_table(part_path(asked, i), table)
            progress.add_clip()


def finish(asked: Evaluation, seconds: float) -> None:
    """Join the clips' tables, write the table of scores and complete the record."""
    parts = [pd.read_parquet(part_path(asked, i)) for i in range(len(asked.clips))]
    frames = pd.concat(parts, ignore_index=True)
    write_table(asked.folder / "metrics.parquet", frames)
    scores = score_table(frames)
    write_file(asked.folder / "scores.csv", scores.to_csv().encode())
    write_file(asked.folder / "scores.md", describe_scores(asked, frames, scores).encode())
    record = CellRecord.load(asked.folder)
    record.metrics = dict(summarise(frames))
    record.cost = streaming_cost(asked.net, asked.clips[0], asked.how, asked.device)
    record.durations = {"test_seconds": record.durations.get("test_seconds", 0.0) + seconds}
    record.peak_memory_gib = peak_memory_gib(asked.device)
    record.status, record.error, record.finished = "complete", "", now()
    record.save()
    shutil.rmtree(asked.folder / "parts")


def earlier_record(asked: Evaluation) -> CellRecord:
    """The record of an earlier evaluation in its folder.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return CellRecord.load(asked.folder)
    except ValueError as error:
        raise ValueError(f"{error} with again=true") from error


def is_scored(asked: Evaluation, number: int) -> bool:
    """Whether an earlier process has scored a clip and its table is as it wrote it; one that is not is deleted."""
    path = part_path(asked, number)
    if not path.is_file():
        return False
    try:
        table = read_table(path)
        if len(table) != asked.clips[number].num_frames:
            raise ValueError(f"{path} is not of {asked.clips[number].num_frames} frames")
    except ValueError as error:
        print(f"damaged   {error}; the clip is scored anew", flush=True)
        path.unlink()
        return False
    return True


def part_path(asked: Evaluation, number: int) -> Path:
    """Where the scores of one clip wait for those of the others."""
    return asked.folder / "parts" / f"{number:05d}.parquet"


def score_table(frames: pd.DataFrame) -> pd.DataFrame:
    """The papers' figures: a row a stratum and one for their mean, a column a metric."""
    means = stratum_means(frames)
    means = means * [FIGURES[str(name)].scale for name in means]
    if len(means) > 1:
        means.loc["mean of strata"] = pd.Series(summarise(frames))
    return means


def describe_scores(asked: Evaluation, frames: pd.DataFrame, scores: pd.DataFrame) -> str:
    """The table in Markdown, and below it what a reader must know to compare it."""
    heads = [FIGURES[str(name)].heading for name in scores]
    rows = [["stratum", *heads], ["---", *["---:"] * len(heads)]]
    rows += [[str(stratum) or "all", *(f"{value:.3f}" for value in values)] for stratum, *values in scores.itertuples()]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    height, width = asked.config["size"]
    people = frames["clip"].nunique()
    facts = [
        f"{asked.arm['model']}, {asked.arm['checkpoint']}, {asked.arm['options']}; {asked.study}",
        f"data: {asked.source}; {size_text(asked.data)}, fingerprint {asked.data['fingerprint']}",
        f"{len(asked.clips)} clips of {people} people, {len(frames)} frames, {width} × {height} pixels",
        f"scoring {asked.scoring.mode}, region {asked.scoring.region}; frame → clip → stratum → mean of strata",
    ]
    if weights := asked.config.get("published"):
        sha256 = asked.config["checkpoint_sha256"]
        facts.append(f"weights {weights['name']}: {weights['licence']}, {weights['source']}, SHA-256 {sha256}")
    zero = [row.label for name, row in METRICS.items() if row.first_frame == "zero" and name in frames]
    facts += [f"{label} counts frame 0 as 0, as published" for label in zero]
    if "foreground_predicted" in frames and not frames["foreground_predicted"].all():
        facts.append("the net gives no foreground: the input frame is scored in its place")
    slow = [row for name, row in METRICS.items() if asked.scoring.metrics is None and row.widest and name not in frames]
    facts += [f"{row.label} is left out above {row.widest} pixels; metrics=[…,{row.key}] asks for it" for row in slow]
    for name in (name for name in METRICS if name in frames and frames[name].isna().any()):
        facts.append(f"{METRICS[name].label} is undefined in {frames[name].isna().sum()} frames, which are left out")
    return "\n".join([*lines, "", *(f"- {fact}" for fact in facts), ""])


def say(text: str, rank: int) -> None:
    """Print on rank 0, at once."""
    if rank == 0:
        print(text, flush=True)


def _from_rank_0(value: Any, ranks: int) -> Any:
    if ranks == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def _mark_failed(asked: Evaluation, error: Exception) -> None:
    record = CellRecord.load(asked.folder)
    record.fail(error)
    record.finished = now()
    record.save()


if __name__ == "__main__":
    ends_with_one_line(main)
