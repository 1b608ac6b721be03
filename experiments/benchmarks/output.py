"""What benchmarks print and write: the machine, Markdown tables, CSV, a plot."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from datamodules.files.writing import write_file
from experiments.benchmarks.timing import load_average
from experiments.records.cell_record import read_cells
from experiments.records.world import describe_hardware

# Column of a table → its heading and how a figure is written.
Columns = Mapping[str, tuple[str, str]]


def describe_machine(device: torch.device) -> str:
    """One line: device, driver and clocks, versions, TF32, autotuning, threads, load."""
    hardware = describe_hardware()
    parts = [f"torch {torch.__version__}"]
    if device.type == "cuda":
        parts = [torch.cuda.get_device_name(device), *_driver(), *parts]
        parts.append(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
        parts.append(f"cuDNN autotune {'on' if torch.backends.cudnn.benchmark else 'off'}")
        parts.append("TF32 on in rows tf32 alone")
    else:
        parts = [f"{hardware['processor']} ({torch.backends.cpu.get_cpu_capability()})", *parts]
    return ", ".join(
        [*parts, f"{torch.get_num_threads()} of {hardware['cores']} CPU threads, load {load_average():.1f}"]
    )


def _driver() -> list[str]:
    """Driver, clocks and power limit as nvidia-smi says them; nothing without it."""
    if shutil.which("nvidia-smi") is None:
        return []
    fields = "driver_version,clocks.sm,clocks.max.sm,power.limit"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    driver, clock, most, power = (field.strip() for field in answer.splitlines()[0].split(","))
    return [f"driver {driver}", f"clock {clock} of {most}", f"power limit {power}"]


def markdown(table: pd.DataFrame, columns: Columns) -> str:
    """A Markdown table of those columns that hold anything; what is missing in a row is "—".

    >>> print(markdown(pd.DataFrame({"ms": [1.25, None]}), {"ms": ("time", ".1f"), "x": ("x", "")}))
    | time |
    | ---: |
    | 1.2 |
    | — |
    """
    filled = table.replace("", None).dropna(axis="columns", how="all")
    shown = {name: column for name, column in columns.items() if name in filled}
    lines = [[heading for heading, _ in shown.values()], ["---:" for _ in shown]]
    for _, row in filled.iterrows():
        lines.append(["—" if pd.isna(row[name]) else format(row[name], form) for name, (_, form) in shown.items()])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all."""
    write_file(path, table.to_csv(index=False, float_format="%.6g").encode())


def read_quality(records: Path) -> dict[str, float]:
    """MAD × 1e3 by the name of a net: the mean over its complete cells in a folder of run records.

    Raises:
        ValueError: there is no such cell.
    """
    import yaml

    found: dict[str, list[float]] = {}
    for cell in read_cells(records):
        mad = cell.metrics.get("mad")
        if cell.status == "complete" and mad is not None:
            config = yaml.safe_load((cell.folder / "config.yaml").read_text(encoding="utf-8"))
            found.setdefault(config["model"]["name"], []).append(mad)
    if not found:
        raise ValueError(f"{records} holds no complete run record with a MAD; name a folder outputs/EXP")
    return {name: sum(values) / len(values) for name, values in found.items()}


def plot_quality(path: Path, table: pd.DataFrame, quality: Mapping[str, float]) -> None:
    """Draw MAD against frames per second, one line a net and size over its precisions and modes.

    Args:
        path: .svg or .png.
        table: of `benchmark_nets`, with a column `name`: the net without its options.
        quality: of `read_quality`; nets that it lacks are not drawn.

    Raises:
        ValueError: no net of the table has a quality.
    """
    from io import BytesIO

    from matplotlib.figure import Figure

    scored = table[table["name"].isin(list(quality)) & table["median_ms"].notna()]
    if scored.empty:
        raise ValueError(f"records tell the quality of {', '.join(quality)}, none of which was measured")
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for (label, size), rows in scored.groupby(["net", "size"]):
        rows = rows.sort_values("fps")
        mads = [quality[name] for name in rows["name"]]
        axes.plot(rows["fps"], mads, "o-", label=f"{label}, {size}")
        fastest = rows.iloc[-1]
        axes.annotate(f"{fastest['precision']} {fastest['mode']}", (fastest["fps"], mads[-1]), fontsize=7)
    axes.set(xscale="log", xlabel="frames per second, batch 1, state carried", ylabel="MAD × 1e3 (lower is better)")
    axes.legend(fontsize=7)
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix.removeprefix("."))
    write_file(path, picture.getvalue())
