"""The comparison report of one experiment, made from the run records of its cells.

    python -m experiments.report +exp=brm_ablation              from outputs/ into results/, nothing is trained
    python -m experiments.report +exp=brm_ablation scale=small
    python -m experiments.report +exp=brm_ablation wandb=ENTITY/PROJECT    from what a W&B project has
    python -m experiments.report records=outputs/evaluate baseline=NAME output=DIR
    python -m experiments.report compare BEFORE AFTER            what changed in numbers, settings and code
    python -m experiments.report leaderboard records=DIR         all nets that were scored, by test set
    python -m experiments.report card=outputs/EXPERIMENT/CELL    a model card of that cell, written into its folder

Give the same overrides as to `experiments.run`: they say which cells belong to the comparison. With `records=` it
reads every record in a folder, as `experiments.evaluate` writes them, and makes one report a test set. The others are
compared with the record whose folder is called NAME, or without `baseline=` with the first one by name; `output` is
results/FOLDER unless it is told. Records of other data are never compared: two sets of one name have a report each.

`compare` takes folders of reports, results/EXPERIMENT/SCALE, or of records, outputs/EXPERIMENT; it prints a table and
writes compare.html and compare.md into `output=DIR`, results/compare unless it is told.

`leaderboard` reads every record under `output_dir=outputs` and writes leaderboard.html, .md and .csv into
`results_dir=results`. `records=DIR`, given once or more, adds records of others, of which each file is checked
against its checksum first.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from datamodules.files.writing import write_file
from datamodules.processes import keep_memory
from experiments.cells.cell import Cell
from experiments.command.composing import run_hydra, swept
from experiments.command.errors import ends_with_one_line
from experiments.command.quoting import quote_texts
from experiments.records.cell_record import CellRecord, read_cells
from experiments.reporting.arms import value_text
from experiments.reporting.card import model_card
from experiments.reporting.changes import compared_pairs
from experiments.reporting.grouping import experiments_of
from experiments.reporting.leaderboard import write_leaderboard
from experiments.reporting.pages import render
from experiments.reporting.reference import against_reference
from experiments.reporting.report import write_report
from experiments.reporting.wandb_report import is_online, send_report


def main() -> int:
    """Write what the command line asks for: a report, by default of the experiment and overrides on it."""
    keep_memory()
    words = sys.argv[1:]
    if any(each in ("--help", "-h") for each in words):
        print(__doc__)
        return 0
    commands = {"compare": _compare, "leaderboard": _leaderboard}
    if words and words[0] in commands:
        return commands[words[0]](words[1:])
    if any(each.startswith("records=") for each in words):
        return _report_records(words)
    if cards := [each.partition("=")[2] for each in words if each.startswith("card=")]:
        return _write_cards([Path(folder).expanduser() for folder in cards])
    return _report_experiment()


def _report_experiment() -> int:
    quote_texts()
    arguments = sys.argv[1:]
    axes = swept(arguments)
    project = next((each.partition("=")[2] for each in arguments if each.startswith("wandb=")), None)
    kept = [each for each in arguments if each.partition("=")[0].lstrip("+") not in (*axes, "wandb")]
    sys.argv = [sys.argv[0], *kept, "hydra.mode=RUN"]

    def report(config: DictConfig) -> None:
        cell = Cell(config, HydraConfig.get(), axes)
        folder = cell.folder.parent
        if project:
            from experiments.logging.wandb_records import download_records  # here: a report needs no W&B

            folder = folder.parent / "from_wandb" / folder.name
            download_records(project, cell.experiment.name, folder)
        asked = _asked(HydraConfig.get(), arguments)
        records = [each for each in read_cells(folder) if _belongs(each, cell) and _counts(each, asked)]
        if not records:
            raise ValueError(f"{folder}: no cells of this comparison; run experiments.run first")
        _tell_unreadable(records)
        _tell(write_report(cell.experiment, records, cell.report), folder)
        if is_online(cell.settings.logger):
            send_report(cell, project)

    for error in run_hydra(report):
        raise error
    return 0


def _tell(page: Path, cells: Path) -> None:
    """Print what a report says, where it is, where W&B's offline runs are, and whether it agrees with what is known."""
    print(f"\n{(page.parent / 'answer.txt').read_text(encoding='utf-8')}\nreport    {page}")
    if any(cells.glob("*/wandb/offline-run-*")):
        print(f"W&B       offline; to send it: wandb sync {cells}/*/wandb/offline-run-*")
    print(f"reference {against_reference(page.parent) or 'none is committed for this experiment and scale'}")


def _report_records(arguments: Sequence[str]) -> int:
    given = dict(each.partition("=")[::2] for each in arguments)
    unknown = given.keys() - {"records", "baseline", "output"}
    if unknown or not given["records"]:
        raise ValueError(f"{', '.join(unknown) or 'records='} is not understood; with records=FOLDER go baseline=NAME "
                         "and output=DIR")  # fmt: skip
    folder = Path(given["records"]).expanduser()
    cells = read_cells(folder)
    if not cells:
        raise ValueError(f"{folder}: no records; point records= at a folder of them, as outputs/evaluate")
    _tell_unreadable(cells)
    output = Path(given.get("output") or Path("results") / folder.resolve().name).expanduser()
    for name, (experiment, group) in experiments_of(folder.resolve().name, cells, given.get("baseline", "")).items():
        if ",data=" in name:
            print(f"data      {name}: there are records of other data under this name; they have a report of their own")
        print(f"report    {write_report(experiment, group, output / name)}")
    return 0


def _compare(words: Sequence[str]) -> int:
    folders = [Path(word).expanduser() for word in words if not word.startswith("output=")]
    outputs = [word.partition("=")[2] for word in words if word.startswith("output=")]
    if len(folders) != 2 or any(str(folder).startswith("-") for folder in folders):
        raise ValueError("compare takes two folders, of reports or of records, and output=DIR (see --help)")
    pairs, notes = compared_pairs(*folders)
    output = Path((outputs or ["results/compare"])[-1]).expanduser()
    content = {"before": str(folders[0]), "after": str(folders[1]), "pairs": pairs, "notes": notes}
    write_file(output / "compare.md", render("compare.md.j2", content).encode())
    write_file(output / "compare.html", render("compare.html.j2", content).encode())
    for name, found in pairs.items():
        print("\n".join([*([f"{name}"] if len(pairs) > 1 else []), found.to_text()]))
    print("\n".join([*notes, f"page      {output / 'compare.html'}"]))
    return 0


def _leaderboard(words: Sequence[str]) -> int:
    given = [word.partition("=")[::2] for word in words]
    if unknown := [name for name, _ in given if name not in ("records", "output_dir", "results_dir")]:
        raise ValueError(f"{unknown[0]} is not understood; with leaderboard go records=DIR, output_dir=DIR and "
                         "results_dir=DIR (see --help)")  # fmt: skip
    others = [Path(value).expanduser() for name, value in given if name == "records"]
    outputs, results = (
        Path(dict(given).get(name, usual)).expanduser()
        for name, usual in (("output_dir", "outputs"), ("results_dir", "results"))
    )
    page, lines = write_leaderboard(outputs, others, results)
    print("\n".join([*lines, f"page      {page}"]))
    return 0


def _write_cards(folders: Sequence[Path]) -> int:
    for folder in folders:
        path = folder / "card.md"
        write_file(path, render("card.md.j2", model_card(CellRecord.load(folder))).encode())
        print(f"card      {path}")
    return 0


def _tell_unreadable(cells: Sequence[CellRecord]) -> None:
    for cell in cells:
        if cell.status == "failed":
            print(f"left out  {cell.cell or cell.folder.name}: {cell.error or 'failed'}", flush=True)


def _belongs(record: CellRecord, cell: Cell) -> bool:
    """Whether a record is of the comparison of a cell; one too torn to say so is shown, as failed."""
    if not record.config_hash:
        return True
    return (record.study, record.scale, set(record.arm)) == (cell.study, cell.scale, set(cell.arm))


def _asked(hydra: HydraConf, arguments: Sequence[str]) -> dict[str, list[Any]]:
    """The values that an experiment and the command line give to each axis."""
    words = [f"{axis}={values}" for axis, values in (hydra.sweeper.get("params") or {}).items()]
    words += [word for word in arguments if "=" in word and not word.startswith(("-", "wandb="))]
    found: dict[str, list[Any]] = {}
    for override in OverridesParser.create().parse_overrides(words):
        value: Any = override.value()
        if not override.is_sweep_override():
            found[override.key_or_group] = [value]
        elif override.is_choice_sweep():
            found[override.key_or_group] = value.list
        else:
            found.pop(override.key_or_group, None)  # a range: what is in it is nobody's mistyped setting
    return found


def _counts(cell: CellRecord, asked: Mapping[str, Sequence[Any]]) -> bool:
    """Whether a cell is to be told of: one that is not complete, as after a mistyped value, only where it is asked for.

    Values are compared as Hydra writes them, 'True' of a record and 'true' of a command alike.
    """
    if cell.status == "complete" or not cell.config_hash:
        return True
    settings = cell.arm | {"seed": cell.seed}
    return all(
        value_text(value).lower() in [value_text(each).lower() for each in asked[axis]]
        for axis, value in settings.items()
        if axis in asked
    )


if __name__ == "__main__":
    gc.disable()  # what a report reads lives to its end: there is nothing to collect
    ends_with_one_line(main)
