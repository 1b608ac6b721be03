"""Pages as text, on paper, and what a page shows at once."""

import re
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.reporting import pages
from experiments.reporting.leaderboard import write_leaderboard
from experiments.reporting.report import write_report
from tests.experiments.cells_on_disk import WITH, WITHOUT, small

TEMPLATES = Path(pages.__file__).parent / "templates"


def blocks(medium: str) -> str:
    """The rules that the style sheet has for a medium, of all its blocks, with those for any medium under ""."""
    style = (TEMPLATES / "style.css").read_text()
    found = re.findall(r"^@media ([^{]+?) \{\n(.*?)^\}", style, flags=re.MULTILINE | re.DOTALL)
    if not medium:
        return re.sub(r"^@media .*?^\}", "", style, flags=re.MULTILINE | re.DOTALL)
    return "\n".join(rules for query, rules in found if medium in query)


def value(rules: str, selector: str, name: str) -> str | None:
    """What the last rule for a selector gives a property."""
    found = [
        each.group(1)
        for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", rules)
        if selector in [one.strip() for one in selectors.split(",")]
        for each in re.finditer(rf"(?:^|;)\s*{name}:\s*([^;]+)", body)
    ]
    return found[-1].strip() if found else None


def test_dark_colours_are_for_screens_alone():
    style = (TEMPLATES / "style.css").read_text()
    queries = re.findall(r"@media ([^{]+?) \{", style)
    assert [query for query in queries if "dark" in query] == ["screen and (prefers-color-scheme: dark)"]
    assert value(blocks("print"), ":root", "color-scheme") == "light"


@pytest.mark.parametrize("page", ["report", "compare", "leaderboard", "claims"])
def test_a_screen_reader_finds_the_head_and_the_main_part_of_a_page(page):
    text = (TEMPLATES / f"{page}.html.j2").read_text()
    assert [text.count(tag) for tag in ("<header>", "<h1>", "<main>", 'lang="en"')] == [1, 1, 1, 1]


@pytest.mark.parametrize("selector", ["nav", ".controls", "#viewer"])
def test_what_cannot_be_pressed_on_paper_is_not_printed(selector):
    assert value(blocks("print"), selector, "display") == "none"


def test_the_stills_stand_for_the_viewer_on_paper():
    assert value(blocks("print"), "#still-mattes", "display") == "block"  # which the viewer hides on screens
    assert "lazy" not in (TEMPLATES / "report.html.j2").read_text()  # what was never in view would be printed empty


@pytest.mark.parametrize("selector", ["img", "img.plot"])
def test_no_picture_is_wider_than_paper(selector):
    """One that is makes a browser shrink the whole document."""
    assert value(blocks("print"), selector, "max-width") == "100%"


@pytest.mark.parametrize(("selector", "name", "expected"), [
    ("tr", "break-inside", "avoid"), ("figure", "break-inside", "avoid"), ("h2", "break-after", "avoid"),
    ("td span", "white-space", "normal"), (".scroll", "overflow", "visible"),
])  # fmt: skip
def test_rows_and_figures_stay_whole_and_tables_shrink(selector, name, expected):
    assert value(blocks("print"), selector, name) == expected


def test_tables_are_smaller_on_paper_and_wide_ones_smaller_still():
    rules = blocks("print")
    sizes = [value(rules, selector, "font-size") for selector in ("table:has(th:nth-child(12))", "table", ":root")]
    points = [float(size.removesuffix("pt")) for size in sizes if size]
    assert len(points) == 3
    assert points == sorted(points)
    assert value(blocks(""), "table", "font-size") == ".84rem"


def test_a_leaderboard_is_not_folded(make_cell, tmp_path):
    for width in range(20):
        make_cell({"model.width": width}, 0, strata=("static",), clips=2, frames=2)
    page, _ = write_leaderboard(tmp_path / "outputs", [], tmp_path / "results")
    assert "<details" not in page.read_text()


@pytest.mark.usefixtures("only_tables")
def test_every_row_of_markdown_has_the_columns_of_its_head(make_cell, experiment, write):
    cells = [small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in range(2)]
    for block in re.findall(r"(?:^\|.*\n)+", write(experiment, cells), flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


@pytest.mark.slow
def test_nothing_of_a_report_is_wider_than_paper(make_cell, experiment, tmp_path, browse):
    """Chromium prints a CSS pixel as 0.75 points, and all of it smaller where something is wider than the paper."""
    experiment = replace(
        experiment,
        labels={
            **experiment.labels,
            **{"model.brm=true": "a background restored from all earlier frames at a quarter of the size"},
        },
    )
    cells = [make_cell(arm, seed, media=True) for arm in (WITH, WITHOUT) for seed in range(5)]
    page = write_report(experiment, cells, tmp_path / "results", resamples=100)
    browse(page, f"--print-to-pdf={tmp_path / 'report.pdf'}")
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", (tmp_path / "report.pdf").read_bytes(), flags=re.DOTALL)
    drawn = [zlib.decompress(stream) for stream in streams if stream.startswith(b"x")]
    scales = [re.match(rb"([.\d]+) 0 0 -\1 0 \d+ cm\nq\n([.\d]+) 0 0 \2 ", page) for page in drawn]
    pages = [float(found[1]) * float(found[2]) for found in scales if found]
    assert len(pages) >= 3
    assert pages == pytest.approx([0.75] * len(pages))
