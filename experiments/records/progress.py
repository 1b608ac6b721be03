"""How far a cell is: one line in its folder, which the cell keeps up to date and others read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FILE = "progress"


@dataclass(frozen=True)
class Progress:
    """A stage of a cell's work, how many of its steps, clips or files are done, and a note such as the loss."""

    stage: str
    done: int
    total: int
    note: str = ""

    def __str__(self) -> str:
        return f"{self.stage} {self.done}/{self.total} {self.note}".rstrip()


def write_progress(folder: Path, progress: Progress) -> None:
    """Put the line in place of the old one in a cell's folder."""
    temporary = folder / ".progress.tmp"
    line = f"{progress.stage}\t{progress.done}\t{progress.total}\t{progress.note}"
    temporary.write_text(line, encoding="utf-8")
    temporary.replace(folder / FILE)  # not synced: it may be written thousands of times, and nothing is lost with it


def read_progress(folder: Path) -> Progress | None:
    """What stands in a cell's folder; None if nothing does that can be read."""
    try:
        stage, done, total, note = (folder / FILE).read_text(encoding="utf-8").split("\t")
        return Progress(stage, int(done), int(total), note)
    except (OSError, ValueError):
        return None
