"""The comparison report of one experiment, made from the run records of its cells.

    python -m experiments.report +exp=brm_ablation              from outputs/ into results/, nothing is trained
    python -m experiments.report +exp=brm_ablation scale=small

Give the same overrides as to `experiments.run`: they say which cells belong to the comparison.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments import plots, tables
from experiments.analysis import Analysis, analyse
from experiments.command import ends_with_one_line, run_hydra, swept
from experiments.matrix import Matrix, build_matrix
from experiments.records import CellRecord, read_cells, write_file
from experiments.study import Study
from experiments.verdicts import headline

TEMPLATES = Path(__file__).parent / "templates"
MAX_IMAGE_BYTES = 2_000_000  # of all images together; in base64 they fill 2.7 MB of the page

OVER_TIME = (
    "Error over time, mean of clips and seeds. The 95 % bands hold the spread of clips too: those of two arms may "
    "overlap although their paired difference is clear."
)


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
    """Write `report.html`, `report.md`, `report.tex`, `scores.csv` and `figures/` into `output`.

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
    content = {
        "experiment": experiment,
        "scale": next((cell.scale for cell in cells if cell.scale), ""),
        "finished": max((cell.finished for cell in cells), default=""),
        "verdict": headline(matrix, analysis),
        "notes": matrix.notes,
        "results": results,
        "strata": tables.strata_table(matrix, analysis),
        "settling": tables.settling_table(matrix, analysis),
        "details": _details(matrix, analysis),
        "unused": tables.unused_table(matrix),
        "facts": tables.how_measured(matrix, analysis),
        "images": {image.name.partition(".")[0]: image for image in images if not image.name.startswith("panel")},
        "panels": [image for image in images if image.name.startswith("panel")],
    }
    for image in images:
        write_file(output / "figures" / image.name, image.data)
    write_file(output / "scores.csv", tables.scores_frame(matrix, analysis).to_csv(index=False).encode())
    write_file(output / "report.tex", _latex(str(experiment["name"]), results).encode())
    write_file(output / "report.md", _render("report.md.j2", content).encode())
    write_file(output / "report.html", _render("report.html.j2", content).encode())
    for path in (output / "figures").glob("[a-z]*.*"):
        if path.name not in {image.name for image in images}:
            path.unlink()  # left by an earlier report, which had more figures
    return output / "report.html"


def _results(matrix: Matrix, analysis: Analysis) -> list[tables.Table]:
    found = [tables.scores_table(matrix)] if matrix.arms else []
    return [*found, tables.differences_table(matrix, analysis)] if analysis.comparisons else found


def _details(matrix: Matrix, analysis: Analysis) -> list[tables.Table]:
    if not matrix.arms:
        return []
    return [
        tables.cost_table(matrix),
        tables.seeds_table(matrix),
        tables.robust_table(matrix, analysis),
        tables.cells_table(matrix),
    ]


def _images(matrix: Matrix, analysis: Analysis) -> list[Image]:
    """Diagrams first, then as many panels as keep the page small."""
    if not matrix.arms:
        return []
    primary = matrix.primary or matrix.metrics[:1]
    over_time = [metric for metric in primary if not metric.skips_first]
    figures = {
        "seeds": ("Each seed's mean, by arm.", plots.seeds_of_arms(matrix, primary)),
        "time": (OVER_TIME, plots.error_over_time(matrix, analysis, over_time) if over_time else None),
        "extras": ("What the memory holds and what is refined, by frame.", plots.extras_over_time(matrix)),
        "training": ("Training losses: thin lines are seeds, thick ones their mean.", plots.training_curves(matrix)),
    }  # fmt: skip
    if analysis.comparisons:
        forest = plots.strata_forest(matrix, analysis, primary)
        figures["strata"] = ("Change against the baseline by stratum, with 95 % intervals.", forest)
    images = [Image(f"{name}.png", caption, plots.png(figure)) for name, (caption, figure) in figures.items() if figure]
    size = sum(len(image.data) for image in images)
    panels = plots.matte_panels(matrix)
    for place, (clip, figure) in enumerate(panels.items()):
        image = Image(f"panel_{_file_name(clip)}.jpg", clip.replace("__", ", clip "), plots.jpeg(figure))
        size += len(image.data)
        if size > MAX_IMAGE_BYTES:
            matrix.notes.append(f"Mattes of {place} of {len(panels)} clips are shown, to keep the page small.")
            break
        images.append(image)
    return images


def _latex(name: str, results: Sequence[tables.Table]) -> str:
    found = [table.to_latex(f"tab:{_file_name(name)}-{place}") for place, table in enumerate(results)]
    return "% Needs the package booktabs.\n" + "\n".join(found)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", text)


def _render(template: str, content: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markdown_text
    return environment.get_template(template).render(content)


def markdown_text(text: object) -> str:
    r"""Text that Markdown shows as it is, also in a table's cell.

    >>> markdown_text("a|b <script>")
    'a\\|b &lt;script&gt;'
    """
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(re.sub(r"([\\`*|])", r"\\\1", escaped).replace("](", "]\\(").split())


def main() -> int:
    """Write the report of the experiment and overrides on the command line."""
    arguments = sys.argv[1:]
    axes = swept(arguments)
    kept = [each for each in arguments if each.partition("=")[0].lstrip("+") not in axes]
    sys.argv = [sys.argv[0], *kept, "hydra.mode=RUN"]

    def report(config: DictConfig) -> None:
        study = Study(config, HydraConfig.get(), axes)
        cells = [cell for cell in read_cells(study.folder.parent) if _belongs(cell, study)]
        if not cells:
            raise ValueError(f"{study.folder.parent}: no cells of this comparison; run experiments.run first")
        print(f"report    {write_report(study.experiment, cells, study.report)}")

    for error in run_hydra(report):
        raise error
    return 0


def _belongs(cell: CellRecord, study: Study) -> bool:
    """Whether a cell is of this comparison; one too torn to say so is shown, as failed."""
    if not cell.config_hash:
        return True
    return (cell.study, cell.scale, set(cell.arm)) == (study.key, study.scale, set(study.arm))


if __name__ == "__main__":
    ends_with_one_line(main)
