"""The tables of a run record as they are read: whole, and of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype
from pyarrow.parquet import ParquetFile

from experiments.command.messages import reason
from lightning_modules.metrics.table import ALWAYS

FRAME_COLUMNS = ("clip", "scene", "stratum", "frame", *ALWAYS)
TEXT_COLUMNS = ("clip", "scene", "stratum", "method", "state")


def read_table(path: Path) -> pd.DataFrame:
    """Scores, a row a clip and frame.

    Raises:
        ValueError: the table is missing, torn, damaged, empty, or lacks a column of numbers.
    """
    try:
        with ParquetFile(path, page_checksum_verification=True) as file:  # sooner than pandas' own reader
            table = file.read(use_threads=False).to_pandas()
    except Exception as error:  # anything: a torn file may tell its reader whatever it likes
        raise ValueError(f"{path} cannot be read ({reason(error)}); run the cell again") from error
    missing = [name for name in FRAME_COLUMNS if name not in table]
    if missing or table.empty:
        raise ValueError(f"{path} has no {', '.join(missing) or 'rows'}; run the cell again")
    _check_numbers(path, table, "frame", TEXT_COLUMNS)
    return table


def read_history(path: Path) -> pd.DataFrame:
    """Losses of one stage, a row some steps.

    Raises:
        ValueError: the table is missing or torn, or holds anything but numbers.
    """
    try:
        history = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({reason(error)}); run the cell again") from error
    if "step" not in history:
        raise ValueError(f"{path} has no step; run the cell again")
    _check_numbers(path, history, "step")
    return history


def _check_numbers(path: Path, table: pd.DataFrame, counter: str, texts: Sequence[str] = ()) -> None:
    """Refuse a table with text in it, but where it is due, or whose counter is not made of whole numbers."""
    if not table.columns.is_unique:
        raise ValueError(f"{path} has two columns of one name; run the cell again")
    other = [name for name, kind in table.dtypes.items() if name not in texts and not is_numeric_dtype(kind)]
    text = [str(name) for name in other if not table[name].isna().all()]
    text += [counter] if not text and not table[counter].mod(1).eq(0).all() else []
    if text:
        raise ValueError(f"{path} has other things than numbers in {', '.join(text)}; run the cell again")
