"""What cells need rendered, before they start: once for all of them, by every core."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from datamodules.processes import cores
from datamodules.sources.rendering import Piece, RenderedSource, Report, fill_caches, missing_pieces, total_cost
from experiments.cells.cell import Cell
from experiments.cells.launch import CellPool
from experiments.command.messages import duration
from experiments.training.data import make_data
from experiments.training.settings import Settings

EVERY = 60.0  # seconds between two lines where no bar is shown


def sources_of(settings: Settings) -> list[object]:
    """All that a cell reads.

    Raises:
        ValueError: no cell can start with these data.
    """
    sources = make_data(settings, stage=None).rendered(("val", "test"))
    for name, stage in settings.stages.items():
        sources += make_data(settings, stage, name).rendered()
    return sources


def sources_to_render(cells: Sequence[Cell]) -> list[object]:
    """What the cells that are not complete read, where a cache lacks some of what cells read."""
    sources = [source for cell in cells for source in sources_of(cell.settings)]
    if not missing_pieces(sources):
        return sources
    return [source for cell in cells if not cell.is_complete() for source in sources_of(cell.settings)]


def render_for(cells: Sequence[Cell], pool: CellPool) -> None:
    """Render what the caches of some cells lack, with a bar; what a killed process has made is kept.

    Raises:
        ValueError: the disk has no room for it, or no cell can start with its data.
    """
    sources = sources_to_render(cells)
    for line in forecast(sources):
        pool.say(line)
    pieces = missing_pieces(sources)
    if pieces:
        check_room(pieces)
        begin = time.monotonic()
        fill_caches(sources, _bar(pool, len(pieces)))
        pool.say(f"rendered  {len(pieces)} clips and scenes in {duration(time.monotonic() - begin)}")


def forecast(sources: Sequence[object]) -> list[str]:
    """Lines that tell what old caches are of no use, and what rendering that the sources still need takes."""
    lines = []
    old = sorted({path for source in sources if isinstance(source, RenderedSource) for path in source.outdated()})
    if old:
        size = sum(file.stat().st_size for path in old for file in path.iterdir()) / 1e6
        lines.append(f"old cache {', '.join(map(str, old))}: {size:.0f} MB that nothing reads any more; delete it")
    if pieces := missing_pieces(sources):
        cost, folders = total_cost(pieces), ", ".join(sorted(map(str, _folders(pieces))))
        lines.append(
            f"render    {len(pieces)} clips and scenes that {folders} lacks: {cost.num_bytes / 1e6:.0f} MB, "
            f"about {duration(cost.seconds / cores())} on {cores()} core{'s' if cores() > 1 else ''}"
        )
    return lines


def check_room(pieces: Sequence[Piece]) -> None:
    """Check that what is missing fits on the disk.

    Raises:
        ValueError: it does not.
    """
    for folder in _folders(pieces):
        here = [piece for piece in pieces if piece.source.cache is not None and piece.source.cache.parent == folder]
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free, needed = shutil.disk_usage(existing).free, total_cost(here).num_bytes
        if needed > free:
            raise ValueError(
                f"rendering needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free: make room "
                "there, or give another folder by data.cache_dir"
            )


def _bar(pool: CellPool, total: int) -> Report:
    """A bar with the time to go in a pool; where no bar is seen, a line a minute."""
    task = pool.progress.add_task("render", total=total, note="")
    pool.progress.start()
    begin = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        note = f"{done}/{total}, {duration((now - begin) * (total - done) / max(done, 1))} to go"
        pool.progress.update(task, completed=done, note=note)
        if done == total:
            pool.progress.remove_task(task)
        elif pool.progress.disable and now - last >= EVERY:
            last = now
            pool.say(f"render    {note}")

    return report


def _folders(pieces: Sequence[Piece]) -> set[Path]:
    return {piece.source.cache.parent for piece in pieces if piece.source.cache is not None}
