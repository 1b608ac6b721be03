from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from experiments.benchmarks.output import describe_machine, markdown, plot_quality, read_quality, write_csv
from experiments.records.cell_record import CellRecord, write_config


def test_a_table_leaves_out_empty_columns_and_marks_missing_cells() -> None:
    table = pd.DataFrame({"net": ["a", "b"], "ms": [1.0, None], "note": ["", ""], "hidden": [1, 2]})
    text = markdown(table, {"net": ("net", ""), "ms": ("ms", ".2f"), "note": ("note", "")})
    assert text.splitlines() == ["| net | ms |", "| ---: | ---: |", "| a | 1.00 |", "| b | — |"]


def test_the_machine_is_described_in_one_line() -> None:
    line = describe_machine(torch.device("cpu"))
    assert "\n" not in line
    assert all(part in line for part in ("torch", "CPU threads", "load"))


def test_csv_is_written_whole(tmp_path: Path) -> None:
    write_csv(tmp_path / "new" / "nets.csv", pd.DataFrame({"a": [1], "b": ["x"]}))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["nets.csv"]
    assert pd.read_csv(tmp_path / "new" / "nets.csv").to_dict("list") == {"a": [1], "b": ["x"]}


def test_quality_is_the_mean_over_the_cells_of_a_net(make_cell: Callable[..., CellRecord], tmp_path: Path) -> None:
    for name, seed, mad in (("modnet", 0, 10.0), ("modnet", 1, 14.0), ("rvm", 0, 6.0)):
        cell = make_cell({"model": name}, seed, metrics={"mad": mad})
        write_config(cell.folder / "config.yaml", {"model": {"name": name}, "seed": seed})
        cell.save()
    assert read_quality(tmp_path / "outputs") == {"modnet": 12.0, "rvm": 6.0}


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no complete run record"):
        read_quality(tmp_path)


def test_the_plot_needs_a_net_that_was_measured(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "net": "rvm",
            "name": "rvm",
            "size": "512x288",
            "precision": p,
            "mode": "eager",
            "median_ms": m,
            "fps": 1e3 / m,
        }
        for p, m in (("fp32", 20.0), ("bf16", 10.0))
    ]
    plot_quality(tmp_path / "plot.svg", pd.DataFrame(rows), {"rvm": 6.0, "modnet": 9.0})
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    with pytest.raises(ValueError, match="none of which was measured"):
        plot_quality(tmp_path / "none.svg", pd.DataFrame(rows), {"modnet": 9.0})
