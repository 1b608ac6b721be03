"""The comparison report of one experiment, made from the run records of its cells.

    python -m experiments.report +exp=brm_ablation              from outputs/ into results/, nothing is trained
    python -m experiments.report +exp=brm_ablation scale=small
    python -m experiments.report +exp=brm_ablation wandb=ENTITY/PROJECT    from what a W&B project has
    python -m experiments.report records=outputs/evaluate baseline=NAME output=DIR
    python -m experiments.report card=outputs/EXPERIMENT/CELL    a model card of that cell, written into its folder

Give the same overrides as to `experiments.run`: they say which cells belong to the comparison. With `records=` it
reads every record in a folder, as `experiments.evaluate` writes them, and makes one report a test set. The others are
compared with the record whose folder is called NAME, or without `baseline=` with the first one by name; `output` is
results/FOLDER unless it is told. Records of other data are never compared: two sets of one name have a report each.
"""

from __future__ import annotations

import base64
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from datamodules.files.writing import write_file
from experiments.cells.study import Study
from experiments.command.composing import run_hydra, swept
from experiments.command.errors import ends_with_one_line
from experiments.command.quoting import quote_texts
from experiments.records.cell_record import CellRecord, read_cells
from experiments.records.identity import short_name
from experiments.reporting import plots, provenance, tables
from experiments.reporting.analysis import Analysis, analyse
from experiments.reporting.arms import value_text
from experiments.reporting.card import model_card
from experiments.reporting.floors import floor_warnings
from experiments.reporting.formatting import Table
from experiments.reporting.ledger import SCALES, claims_sentence, of_experiment
from experiments.reporting.matrix import Matrix, build_matrix
from experiments.reporting.memory import memory_sentences, memory_table
from experiments.reporting.pages import render, slug
from experiments.reporting.panels import first_panel, matte_panels
from experiments.reporting.reference import against_reference
from experiments.reporting.training import training_table
from experiments.reporting.verdicts import headline
from experiments.reporting.viewer import viewer
from experiments.reporting.wandb_report import is_online, send_report

LINE, ANSWER_SENTENCES = 110, 6  # of a terminal
MAX_IMAGE_BYTES = 2_000_000  # of all images together; in base64 they fill 2.7 MB of the page

OVER_TIME = (
    "Error over time, mean of clips and seeds. The 95 % bands hold the spread of clips too: those of two arms may "
    "overlap although their paired difference is clear."
)

PROFILE = "Share of clips with an error of at most τ: an arm whose line lies above is better at that error. 95 % bands."
COST = "Quality against time per frame; bars reach from the best to the worst seed."


@dataclass(frozen=True)
class Image:
    """A figure of the report: its file under `figures/`, what it shows, its bytes."""

    name: str
    caption: str
    data: bytes

    @property
    def data_uri(self) -> str:
        """The image as a page holds it."""
        kind = "jpeg" if self.name.endswith(".jpg") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


def write_report(
    experiment: dict[str, Any], cells: Sequence[CellRecord], output: Path, resamples: int = 10_000, seed: int = 0
) -> Path:
    """Write `report.html`, `report.md`, `report.tex`, `scores.csv`, `figures/` and `answer.txt` into `output`.

    Cells that failed or are not finished are listed; with no complete cell the report says just that.

    Args:
        experiment: name, and where known question, claim, source, baseline, primary, labels.
        cells: those of one scale.
        output: RESULTS_DIR/EXPERIMENT/SCALE; files of an earlier report there are replaced.
        resamples: of the bootstrap.
        seed: of the generator that all resamples come from.

    Returns:
        The path of the HTML page.

    Raises:
        ValueError: a primary metric is not known, or the cells are of several scales.
    """
    matrix = build_matrix(experiment, cells)
    analysis = analyse(matrix, resamples, seed)
    images = _images(matrix, analysis)
    results = _results(matrix, analysis)
    write_file(output / "scores.csv", tables.scores_frame(matrix, analysis).to_csv(index=False).encode())
    scale = next((cell.scale for cell in cells if cell.scale), "")
    claims = of_experiment(str(experiment["name"]), output / "scores.csv") if scale in SCALES and matrix.arms else []
    claim = claims_sentence(claims)
    found = [*memory_sentences(matrix, analysis.states), *headline(matrix, analysis)]
    verdict = [*found, *filter(None, [claim]), *floor_warnings(matrix)]
    content = {
        "experiment": {"question": "", "claim": "", "source": ""} | experiment,
        "scale": scale,
        "subtitle": provenance.subtitle(matrix, cells),
        "cost": provenance.cost_sentence(matrix),
        "claims": claims,
        "ledger": (output.parent.parent / "claims.html").is_file(),
        "verdict": verdict,
        "notes": matrix.notes,
        "results": results,
        "strata": tables.strata_table(matrix, analysis),
        "flow": tables.flow_table(matrix),
        "settling": tables.settling_table(matrix, analysis),
        "details": _details(matrix, analysis),
        "unused": provenance.unused_table(matrix),
        "facts": provenance.how_measured(matrix, analysis),
        "images": {image.name.partition(".")[0]: image for image in images if not image.name.startswith("panel")},
        "panels": [image for image in images if image.name.startswith("panel")],
        "viewer": viewer(matrix),
    }
    content["contents"] = _contents(content)
    for image in images:
        write_file(output / "figures" / image.name, image.data)
    write_file(output / "answer.txt", _answer(matrix, [*found[:ANSWER_SENTENCES], *filter(None, [claim])]).encode())
    write_file(output / "report.tex", _latex(str(experiment["name"]), results).encode())
    write_file(output / "report.md", render("report.md.j2", content).encode())
    write_file(output / "report.html", render("report.html.j2", content).encode())
    for path in (output / "figures").glob("[a-z]*.*"):
        if path.name not in {image.name for image in images}:
            path.unlink()  # left by an earlier report, which had more figures
    return output / "report.html"


def _contents(content: dict[str, Any]) -> list[tuple[str, str]]:
    """The places of the page and their titles, in order."""
    shown = [("claims", "Published claims", content["claims"]), ("notes", "To know first", content["notes"])]
    shown += [(slug(table.title), table.title, table.rows) for table in (content["unused"], *content["results"])]
    shown += [("mattes", "Mattes", content["viewer"] or content["panels"])]
    others = (content["strata"], content["flow"], content["settling"], *content["details"])
    shown += [(slug(table.title), table.title, table.rows) for table in others]
    shown += [("measured", "How it was measured", content["facts"])]
    return [(place, title) for place, title, there in shown if there]


def _answer(matrix: Matrix, verdict: Sequence[str]) -> str:
    """What a terminal shows of a report: its first sentences and the primary metrics of the arms."""
    told = [textwrap.fill(sentence, LINE, subsequent_indent="  ") for sentence in verdict]
    return "\n".join([*told, *([tables.primary_table(matrix).to_text()] if matrix.arms else [])]) + "\n"


def _results(matrix: Matrix, analysis: Analysis) -> list[Table]:
    memory = memory_table(matrix, analysis.states)
    found = [tables.scores_table(matrix)] if matrix.arms else []
    found = [memory, *found] if memory.rows else found
    return [*found, tables.differences_table(matrix, analysis)] if analysis.comparisons else found


def _details(matrix: Matrix, analysis: Analysis) -> list[Table]:
    if not matrix.arms:
        return []
    further, training = tables.scores_table(matrix, main=False), training_table(matrix)
    return [
        tables.comparisons_table(matrix, analysis),
        *([further] if further.rows else []),
        tables.orders_table(matrix),
        provenance.cost_table(matrix),
        tables.seeds_table(matrix),
        provenance.cells_table(matrix),
        *([training] if training.rows else []),
    ]


def _images(matrix: Matrix, analysis: Analysis) -> list[Image]:
    """Diagrams first, then as many panels as keep the page small."""
    if not matrix.arms:
        return []
    primary = matrix.primary
    over_time = [metric for metric in primary if not metric.derived]
    figures = {
        "seeds": ("Each seed's mean, by arm.", plots.seeds_of_arms(matrix, primary)),
        "time": (OVER_TIME, plots.error_over_time(matrix, analysis, over_time) if over_time else None),
        "profile": (PROFILE, plots.performance_profiles(matrix, analysis, primary)),
        "cost": (COST, plots.quality_against_cost(matrix, primary)),
        "extras": ("What the memory holds and what is refined, by frame.", plots.extras_over_time(matrix)),
        "training": ("Training losses: thin lines are seeds, thick ones their mean.", plots.training_curves(matrix)),
    }  # fmt: skip
    if analysis.comparisons:
        forest = plots.strata_forest(matrix, analysis, primary)
        figures["strata"] = ("Change against the baseline by stratum, with 95 % intervals.", forest)
    images = [Image(f"{name}.png", caption, plots.png(figure)) for name, (caption, figure) in figures.items() if figure]
    if first := first_panel(matrix):
        images.append(Image("mattes.jpg", "Frames of one test clip, from the first to the last.", plots.jpeg(first)))
    size = sum(len(image.data) for image in images)
    panels = matte_panels(matrix)
    for place, (clip, figure) in enumerate(panels.items()):
        image = Image(f"panel_{_file_name(clip)}.jpg", clip.replace("__", ", clip "), plots.jpeg(figure))
        size += len(image.data)
        if size > MAX_IMAGE_BYTES:
            matrix.notes.append(f"Mattes of {place} of {len(panels)} clips are shown, to keep the page small.")
            break
        images.append(image)
    return images


def _latex(name: str, results: Sequence[Table]) -> str:
    found = [table.to_latex(f"tab:{_file_name(name)}-{place}") for place, table in enumerate(results)]
    return "% Needs the package booktabs.\n" + "\n".join(found)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", text)


def main() -> int:
    """Write the report of the experiment and overrides, or of the folder of records, on the command line."""
    if any(each in ("--help", "-h") for each in sys.argv[1:]):
        print(__doc__)
        return 0
    if any(each.startswith("records=") for each in sys.argv[1:]):
        return _report_records(sys.argv[1:])
    if cards := [each.partition("=")[2] for each in sys.argv[1:] if each.startswith("card=")]:
        return _write_cards([Path(folder).expanduser() for folder in cards])
    quote_texts()
    arguments = sys.argv[1:]
    axes = swept(arguments)
    project = next((each.partition("=")[2] for each in arguments if each.startswith("wandb=")), None)
    kept = [each for each in arguments if each.partition("=")[0].lstrip("+") not in (*axes, "wandb")]
    sys.argv = [sys.argv[0], *kept, "hydra.mode=RUN"]

    def report(config: DictConfig) -> None:
        study = Study(config, HydraConfig.get(), axes)
        folder = study.folder.parent
        if project:
            from experiments.logging.wandb_records import download_records  # here: a report needs no W&B

            folder = folder.parent / "from_wandb" / folder.name
            download_records(project, study.experiment["name"], folder)
        cells = [cell for cell in read_cells(folder) if _belongs(cell, study)]
        if not cells:
            raise ValueError(f"{folder}: no cells of this comparison; run experiments.run first")
        _tell_unreadable(cells)
        _tell(write_report(study.experiment, cells, study.report), folder)
        if is_online(study.config["logger"]):
            send_report(study, project)

    for error in run_hydra(report):
        raise error
    return 0


def _tell(page: Path, cells: Path) -> None:
    """Print what a report says, where it is, where W&B's offline runs are, and whether it agrees with what is known."""
    print(f"\n{(page.parent / 'answer.txt').read_text(encoding='utf-8')}\nreport    {page}")
    if any(cells.glob("*/wandb/offline-run-*")):
        print(f"W&B       offline; to send it: wandb sync {cells}/*/wandb/offline-run-*")
    if said := against_reference(page.parent):
        print(f"reference {said}")


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


def experiments_of(
    name: str, cells: Sequence[CellRecord], baseline: str = ""
) -> dict[str, tuple[dict[str, Any], list[CellRecord]]]:
    """A description and its records for each test set (study, scale and data) among `cells`, by its report's name.

    Args:
        name: of the experiments.
        cells: records of evaluations.
        baseline: name of the record that the others are compared with, "" for the first complete one of each set.

    Raises:
        ValueError: no record is called so.
    """
    known = {cell.cell or cell.folder.name: cell.arm for cell in cells}
    if baseline and baseline not in known:
        raise ValueError(f"baseline={baseline}: no record is called so; there are {', '.join(sorted(known))}")
    keys = dict.fromkeys(key for arm in known.values() for key in arm if "." not in key)  # those keep their names
    unsaid = {("options", "default"): "", ("checkpoint", "none"): "no checkpoint"}
    labels = {
        f"{key}={value_text(arm[key])}": unsaid.get((key, value_text(arm[key])), value_text(arm[key]))
        for key in keys
        for arm in known.values()
        if key in arm
    }
    found = {}
    for place, group in _by_test_set(cells).items():
        first = next((cell.arm for cell in group if cell.status == "complete"), {})
        arm = known[baseline] if baseline else first
        found[place] = ({"name": name, "labels": labels, "baseline": arm}, group)
    return found


def _by_test_set(cells: Sequence[CellRecord]) -> dict[str, list[CellRecord]]:
    """Records of one study, scale and data; data are in the name where there are several."""
    groups: dict[str, dict[str, list[CellRecord]]] = {}
    for cell in cells:
        place = ",".join(filter(None, [short_name(cell.scale), short_name(cell.study)]))
        data = short_name(str(cell.data.get("fingerprint", "unknown")))
        groups.setdefault(place or "all", {}).setdefault(data, []).append(cell)
    return {
        place if len(by_data) == 1 else f"{place},data={data}": group
        for place, by_data in groups.items()
        for data, group in by_data.items()
    }


def _belongs(cell: CellRecord, study: Study) -> bool:
    """Whether a cell is of this comparison; one too torn to say so is shown, as failed."""
    if not cell.config_hash:
        return True
    return (cell.study, cell.scale, set(cell.arm)) == (study.key, study.scale, set(study.arm))


if __name__ == "__main__":
    ends_with_one_line(main)
