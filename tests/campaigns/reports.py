"""How long the report of a large experiment takes, and `experiments.status` of a larger one, on made-up records.

    python -m tests.campaigns.reports                         200 cells of 48 clips
    python -m tests.campaigns.reports --cells 100 --folder F  fewer, kept in F and taken again where they are there

The records are laid out as those of `+exp=prm_grid`: five seeds an arm, eight people in six conditions, every column,
the states of the memory, six methods that no net made, losses, and sheets of frames for the viewer. The time is that of
the whole command `experiments.report`, its imports with it. Their scores are random and mean nothing.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from experiments.records.cell_record import CellRecord, read_cells, write_config, write_table
from lightning_modules.metrics.table import METRICS

SEEDS, FRAMES, PIXELS = 5, 24, 96
CONDITIONS = [f"{person} {place} {colour}" for person, place, colour in
              itertools.product(("still", "moving"), ("static", "fast"), ("plain", "camouflaged"))][:6]  # fmt: skip
METHODS = ("constant alpha", "first true matte held", "mean matte", "empty", "full", "untrained")
STATES = ("carried", "emptied", "foreign")
SHEETS = ("frame", "alpha_true", "alpha_pred", "background_true", "background_restored")


def make_records(folder: Path, cells: int, clips: int) -> None:
    """Write complete cells of `prm_grid` under `folder`/prm_grid; `clips` in all, alike for all cells."""
    arms = [(k, xi) for k in range(16, 16 + cells // SEEDS) for xi in (0.01, 0.03)][: cells // SEEDS]  # baseline first
    rows = _rows(clips // len(CONDITIONS))
    level = np.exp(0.4 * np.random.default_rng(7).normal(size=len(rows) // FRAMES)).repeat(FRAMES)
    for place, (k, xi) in enumerate(arms):
        for seed in range(SEEDS):
            _make_cell(folder, {"model.prm_k": k, "model.prm_xi": xi}, seed, rows, level * (1 + 0.01 * place))


def _rows(people: int) -> pd.DataFrame:
    places = itertools.product(CONDITIONS, range(people), range(FRAMES))
    rows = [(f"person-{clip:04}", f"room-{clip:04}", stratum, frame) for stratum, clip, frame in places]
    return pd.DataFrame(rows, columns=["clip", "scene", "stratum", "frame"])


def _make_cell(folder: Path, arm: dict[str, object], seed: int, rows: pd.DataFrame, level: np.ndarray) -> None:  # type: ignore[type-arg]
    draw = np.random.default_rng([seed, round(1e6 * level[0])])
    name = ",".join(f"{key}={value}" for key, value in {**arm, "scale": "tiny", "seed": seed}.items())
    record = CellRecord(
        folder / "prm_grid" / name, experiment="prm_grid", cell=name, arm=arm, seed=seed, scale="tiny",
        config_hash="0123456789ab", started="2026-01-01T00:00:00+00:00", finished=f"2026-01-01T00:0{seed}:00+00:00",
        durations={"train_seconds": 90.0, "test_seconds": 20.0}, memory="measured",
        cost={"parameters": 2_159_741, "gmacs_per_frame": 0.1 + 0.01 * level[0], "milliseconds_per_frame": 8.0},
    )  # fmt: skip
    record.folder.mkdir(parents=True)

    def scored(columns: tuple[str, ...], factor: float = 1.0) -> pd.DataFrame:
        noise = np.exp(0.1 * draw.normal(size=(len(columns), len(rows))))
        return rows.assign(**{column: 0.05 * factor * level * one for column, one in zip(columns, noise, strict=True)})

    measured = tuple(name for name in METRICS if name != "epe")
    extras = {"foreground_predicted": False, "coverage": 0.5, "background_psnr": 20.0, "flat_background_psnr": 18.0}
    write_table(record.folder / "metrics.parquet", scored(measured).assign(**extras))
    floors = [scored(measured, 2.0 + place).assign(method=method) for place, method in enumerate(METHODS)]
    write_table(record.folder / "baselines.parquet", pd.concat(floors))
    states = [scored(("mad", "mse", "dtssd")).assign(state=state) for state in STATES]
    write_table(record.folder / "memory.parquet", pd.concat(states))
    write_config(record.folder / "config.yaml", {"model": {"name": "modnet_v", **arm}, "seed": seed})
    steps = np.arange(0, 360, 3)
    losses = {name: np.exp(-steps / 90) + 0.01 * draw.normal(size=len(steps)) for name in ("loss", "loss_detail")}
    pd.DataFrame({"step": steps, **losses}).to_csv(record.folder / "history_matting.csv", index=False)
    if seed == 0:  # the only one of which a report shows pictures
        _draw(record.folder / "media", sorted(set(rows["clip"]))[:8], draw)
    record.status = "complete"
    record.save()


def _draw(folder: Path, people: list[str], draw: np.random.Generator) -> None:
    folder.mkdir()
    for condition, clip, layer in itertools.product(CONDITIONS, people, SHEETS):
        coarse = Image.fromarray(draw.integers(0, 255, (8, 8 * FRAMES, 3), dtype=np.uint8))
        sheet = coarse.resize((PIXELS * FRAMES, PIXELS), Image.Resampling.BICUBIC)
        sheet.save(folder / f"{condition}__{clip}__{layer}.webp", quality=80, method=0)
        if clip == people[0]:
            sheet.crop((0, 0, 5 * PIXELS, PIXELS)).save(folder / f"{condition}__{clip}__{layer}.png")


def time_report(folder: Path, results: Path) -> tuple[float, Path]:
    """Seconds of the report of the records under `folder`, and its page."""
    words = ["+exp=prm_grid", f"output_dir={folder}", f"results_dir={results}", "logger=none"]
    begin = time.monotonic()
    subprocess.run([sys.executable, "-m", "experiments.report", *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin, results / "prm_grid" / "tiny" / "report.html"


def time_status(folder: Path, cells: int = 1000) -> float:
    """Seconds of `experiments.status` of so many cells, which are made under `folder`; every tenth is not complete."""
    for seed in range(cells):
        record = CellRecord(folder / "many" / f"seed={seed}", "many", cell=f"seed={seed}", seed=seed, scale="tiny")
        record.folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.yaml", "metrics.parquet"):
            (record.folder / name).touch()
        record.status = "complete" if seed % 10 else "running"
        record.save()
    begin = time.monotonic()
    words = [sys.executable, "-m", "experiments.status", "many", f"output_dir={folder}"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def main() -> None:
    """Make the records and print what their report takes, and what the status of a thousand cells does."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.reports", description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=200, help=f"a multiple of {SEEDS}, the seeds of an arm")
    parser.add_argument("--clips", type=int, default=48, help=f"a multiple of {len(CONDITIONS)}, the conditions")
    parser.add_argument("--folder", type=Path, help="where records and report are kept")
    options = parser.parse_args()
    if options.cells < 2 * SEEDS or options.cells % SEEDS or options.clips < 1 or options.clips % len(CONDITIONS):
        parser.error(f"--cells must be a multiple of {SEEDS} from two arms on, --clips one of {len(CONDITIONS)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "prm_grid").is_dir():
            make_records(folder, options.cells, options.clips)
        seconds, page = time_report(folder, folder / "results")
        cells = read_cells(folder / "prm_grid")
        clips = len(cells[0].read_frames()[["clip", "stratum"]].drop_duplicates())
        told = f"{len(cells)} cells, {clips} clips"  # of what lies there, which may be kept from another time
        print(f"report of {told}: {seconds:.1f} s, {page.stat().st_size / 1e6:.1f} MB")
        print(f"status of 1000 cells: {time_status(folder):.2f} s")


if __name__ == "__main__":
    main()
