"""How far experiments are: cells complete, running, interrupted, failed, waiting, and the time to go.

    python -m experiments.status                        every experiment under outputs/
    python -m experiments.status brm_ablation           one of them
    python -m experiments.status output_dir=/data/runs

It reads what the cells leave on disk, and can be asked at any time. "interrupted" cells go on with the next
`experiments.run`; "waiting" ones have not begun. The time to go is that of the cells that are complete.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.cells.standing import STATES, Standing, seconds_to_go, standings, waiting
from experiments.command.errors import ends_with_one_line


def main() -> int:
    """Print the table of the experiments on the command line."""
    words = sys.argv[1:]
    if "--help" in words or "-h" in words:
        print(__doc__)
        return 0
    root = Path(next((word.partition("=")[2] for word in words if word.startswith("output_dir=")), "outputs"))
    names = [word for word in words if not word.startswith("output_dir=")]
    if wrong := [name for name in names if "=" in name or name.startswith("-")]:
        raise ValueError(f"{wrong[0]} is not understood; name experiments, and output_dir=FOLDER (see --help)")
    root = root.expanduser()
    if missing := [name for name in names if not (root / name).is_dir()]:
        raise ValueError(f"{root / missing[0]}: there is no such experiment; {_known(root)}")
    found = {path.name: standings(path) for path in _experiments(root) if not names or path.name in names}
    found = {name: cells for name, cells in found.items() if cells}
    if not found:
        print(f"no cell has begun under {root}; experiments.run starts them")
        return 0
    console = Console(highlight=False)
    console.print(_table(root, found))
    for name, cells in found.items():
        for cell in cells:
            if cell.state != "complete":
                console.print(f"{cell.state:11} {name} {cell.cell}: {cell.note}", markup=False, soft_wrap=True)
    return 0


def _experiments(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _known(root: Path) -> str:
    names = [path.name for path in _experiments(root) if standings(path)]
    return f"there are {', '.join(names)}" if names else f"no cell has begun under {root}"


def _table(root: Path, found: dict[str, list[Standing]]) -> Table:
    table = Table("experiment", "scale", box=None, padding=(0, 1, 0, 0))
    for heading in (*STATES, "waiting", "to go"):
        table.add_column(heading, justify="right")
    for name, cells in found.items():
        by_comparison = itertools.groupby(sorted(cells, key=lambda cell: cell.comparison), lambda cell: cell.comparison)
        for comparison, group in by_comparison:
            members = list(group)
            counts = [sum(cell.state == state for cell in members) for state in STATES]
            left = waiting(root / name, comparison, len(members))
            row = [*map(str, counts), str(left), _time(seconds_to_go(members, left))]
            table.add_row(*map(Text, (name, comparison, *row)))
    return table


def _time(seconds: float | None) -> str:
    """Hours and minutes.

    >>> _time(None), _time(30), _time(7500)
    ('–', '1 min', '2 h 5 min')
    """
    if seconds is None:
        return "–"
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


if __name__ == "__main__":
    ends_with_one_line(main)
