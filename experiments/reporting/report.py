"""The files of a report, made from the run records of one comparison."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.files.writing import write_file
from experiments.records.cell_record import CellRecord
from experiments.records.experiment import Experiment
from experiments.reporting import cells_file, plots, provenance, tables
from experiments.reporting.analysis import Analysis, analyse, in_detail
from experiments.reporting.floors import floor_warnings
from experiments.reporting.formatting import Table, filled
from experiments.reporting.headline import headline, restored_backgrounds
from experiments.reporting.ledger import SCALES, claims_sentence, of_experiment
from experiments.reporting.matrix import Matrix, build_matrix
from experiments.reporting.memory import memory_sentences, memory_table
from experiments.reporting.pages import render, slug
from experiments.reporting.panels import first_panel, matte_panels
from experiments.reporting.training import training_table, validation_table
from experiments.reporting.viewer import viewer

ANSWER_SENTENCES = 6  # that a terminal shows
MAX_IMAGE_BYTES = 2_000_000  # of all images together; in base64 they fill 2.7 MB of the page

CAPTIONS = {
    "seeds": "Each seed's mean, by arm.",
    "time": "Error over time, mean of clips and seeds.",
    "profile": "Share of clips with an error of at most τ: an arm whose line lies above is better at that error.",
    "cost": "Quality against time per frame; bars reach from the best to the worst seed.",
    "extras": "What the memory holds and what is refined, by frame.",
    "training": "Training losses, mean of seeds.",
    "strata": "Change against the baseline by stratum, with 95 % intervals.",
}
OF_DETAILS = {
    "time": "The 95 % bands hold the spread of clips too: those of two arms may overlap although their paired "
    "difference is clear.",
    "profile": "95 % bands.",
    "training": "Thin lines are seeds.",
}


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
    experiment: Experiment, cells: Sequence[CellRecord], output: Path, resamples: int = 10_000, seed: int = 0
) -> Path:
    """Write `report.html`, `.md`, `.tex`, `scores.csv`, `cells.json`, `figures/` and `answer.txt` into `output`.

    Cells that failed or are not finished are listed; with no complete cell the report says just that.

    Args:
        experiment: what is asked and compared.
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
    images, results = _images(matrix, analysis), _results(matrix, analysis)
    used = [cell for arm in matrix.arms for cell in arm.cells]
    write_file(output / cells_file.NAME, cells_file.cells_json(cells_file.facts_of(used)))
    write_file(output / "scores.csv", tables.scores_frame(matrix, analysis).to_csv(index=False).encode())
    scale = next((cell.scale for cell in cells if cell.scale), "")
    claims = of_experiment(experiment.name, output / "scores.csv") if scale in SCALES and matrix.arms else []
    claim = [*filter(None, [claims_sentence(claims)])]
    (answer, further), memory = headline(matrix, analysis), memory_sentences(matrix, analysis.states)
    told = [*memory, *answer, *further][:ANSWER_SENTENCES]
    content = {
        "experiment": experiment,
        "scale": scale,
        "subtitle": provenance.subtitle(matrix, cells),
        "cost": provenance.cost_sentence(matrix),
        "claims": claims,
        "ledger": (output.parent.parent / "claims.html").is_file(),
        "verdict": [*([("Memory", memory)] if memory else []), ("Answer", [*answer, *claim])],
        "further": [*further, *restored_backgrounds(matrix), *floor_warnings(matrix)],
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
    _write_figures(output / "figures", images)
    write_file(output / "answer.txt", _answer(matrix, [*told, *claim]).encode())
    write_file(output / "report.tex", _latex(experiment.name, results).encode())
    write_file(output / "report.md", render("report.md.j2", content).encode())
    write_file(output / "report.html", render("report.html.j2", content).encode())
    return output / "report.html"


def _write_figures(folder: Path, images: Sequence[Image]) -> None:
    for image in images:
        write_file(folder / image.name, image.data)
    for path in folder.glob("[a-z]*.*"):
        if path.name not in {image.name for image in images}:
            path.unlink()  # left by an earlier report, which had more figures


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
    told = [filled(sentence, 2) for sentence in verdict]
    return "\n".join([*told, *([tables.primary_table(matrix).to_text()] if matrix.arms else [])]) + "\n"


def _results(matrix: Matrix, analysis: Analysis) -> list[Table]:
    memory = memory_table(matrix, analysis.states)
    found = [tables.scores_table(matrix)] if matrix.arms else []
    found = [memory, *found] if memory.rows else found
    return [*found, tables.differences_table(matrix, analysis)] if analysis.comparisons else found


def _details(matrix: Matrix, analysis: Analysis) -> list[Table]:
    if not matrix.arms:
        return []
    further, trained = tables.scores_table(matrix, main=False), (training_table(matrix), validation_table(matrix))
    return [
        tables.comparisons_table(matrix, analysis),
        *([further] if further.rows else []),
        tables.orders_table(matrix),
        provenance.cost_table(matrix),
        tables.seeds_table(matrix),
        provenance.cells_table(matrix),
        *(table for table in trained if table.rows),
    ]


def _images(matrix: Matrix, analysis: Analysis) -> list[Image]:
    """Diagrams first, then as many panels as keep the page small."""
    if not matrix.arms:
        return []
    primary = matrix.primary
    over_time = [metric for metric in primary if not metric.derived]
    figures = {
        "seeds": plots.seeds_of_arms(matrix, primary),
        "time": plots.error_over_time(matrix, analysis, over_time) if over_time else None,
        "profile": plots.performance_profiles(matrix, analysis, primary),
        "cost": plots.quality_against_cost(matrix, primary),
        "extras": plots.extras_over_time(matrix),
        "training": plots.training_curves(matrix),
        "strata": plots.strata_forest(matrix, analysis, primary) if analysis.comparisons else None,
    }
    images = [Image(f"{name}.png", _caption(name, matrix), plots.png(one)) for name, one in figures.items() if one]
    if first := first_panel(matrix):
        images.append(Image("mattes.jpg", "Frames of one test clip, from the first to the last.", first))
    size = sum(len(image.data) for image in images)
    panels = matte_panels(matrix)
    for place, (clip, data) in enumerate(panels.items()):
        image = Image(f"panel_{_file_name(clip)}.jpg", clip.replace("__", ", clip "), data)
        size += len(image.data)
        if size > MAX_IMAGE_BYTES:
            matrix.notes.append(f"Mattes of {place} of {len(panels)} clips are shown, to keep the page small.")
            break
        images.append(image)
    return images


def _caption(name: str, matrix: Matrix) -> str:
    more = OF_DETAILS.get(name) if in_detail(matrix) else None
    return f"{CAPTIONS[name]} {more}" if more else CAPTIONS[name]


def _latex(name: str, results: Sequence[Table]) -> str:
    found = [table.to_latex(f"tab:{_file_name(name)}-{place}") for place, table in enumerate(results)]
    return "% Needs the package booktabs.\n" + "\n".join(found)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", text)
