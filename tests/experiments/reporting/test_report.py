"""A report as a whole: its files, that it stands alone, that nothing in a record breaks it or becomes markup."""

import json
import re
import shutil
from dataclasses import fields, replace
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.records.cell_record import CellRecord, read_cells
from experiments.reporting import report as pages
from experiments.reporting.grouping import experiments_of
from experiments.reporting.report import write_report
from tests.experiments.cells_on_disk import WITH, WITHOUT, rewrite, scores, small

OWN_LINKS = {"../../claims.html"}


class Page(HTMLParser):
    """What a browser would fetch or run."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.places = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        self.places += [value for name, value in attributes if name == "id"]


@pytest.mark.slow
def test_a_full_report_holds_all_and_stands_alone(make_cell, experiment, tmp_path):
    cells = [make_cell(arm, seed, effect=0.9 if arm is WITH else 1.0, frames=8, media=True)
             for arm in (WITH, WITHOUT) for seed in range(3)]  # fmt: skip
    path = write_report(experiment, cells, tmp_path / "results", resamples=500)
    assert path == tmp_path / "results" / "report.html"
    assert {item.name for item in path.parent.iterdir()} == {
        "report.html", "report.md", "report.tex", "answer.txt", "scores.csv", "cells.json", "figures",
    }  # fmt: skip
    page = Page(path.read_text())
    assert page.tags.count("script") == 1, "without sheets of frames nothing but the one for printing"
    anchors = {source.removeprefix("#") for source in page.sources if source.startswith("#")}
    assert anchors <= set(page.places)
    others = {source for source in page.sources if not source.startswith(("#", "data:image/"))}
    assert not others, "the ledger is linked where it is"
    (tmp_path / "claims.html").touch()
    page = Page(write_report(experiment, cells, tmp_path / "brm_ablation" / "tiny", resamples=100).read_text())
    assert set(page.sources) >= OWN_LINKS
    assert path.stat().st_size < 3_000_000
    markdown = path.with_suffix(".md").read_text()
    for figure in re.findall(r"\]\((figures/[^)]+)\)", markdown):
        assert (path.parent / figure).is_file()
    assert len(re.findall(r"figures/panel_", markdown)) == 6
    assert "with BRM against without BRM, 3 seeds: better in MAD and dtSSD" in markdown
    assert "3 seeds are few" in markdown
    assert "**Supported.** The background that MODNet-V restores is a prior that lowers the matte's error." in markdown
    answer = (path.parent / "answer.txt").read_text()
    assert "with BRM against without BRM, 3 seeds: better in MAD and dtSSD" in answer
    assert max(map(len, answer.splitlines())) <= 110
    assert re.search(r"^without BRM +[\d.]+ ± [\d.]+ +[\d.]+ ± [\d.]+$", answer, re.MULTILINE)
    row = scores(tmp_path).loc[("model.brm=true", "mad", "all")]
    assert row["relative"] == pytest.approx(-0.1, abs=0.02)
    assert row["verdict"] == "better"
    assert row["p_holm"] < 0.05


@pytest.mark.usefixtures("only_tables")
def test_the_same_seed_gives_the_same_report(make_cell, experiment, tmp_path, write):
    cells = [small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in range(2)]
    first = write(experiment, cells)
    table = (tmp_path / "results" / "scores.csv").read_bytes()
    assert write(experiment, list(reversed(cells))) == first
    assert (tmp_path / "results" / "scores.csv").read_bytes() == table


@pytest.mark.usefixtures("undrawn")
def test_only_failed_cells_give_a_report_that_says_so(tmp_path, experiment, write):
    failed = CellRecord(folder=tmp_path / "a", cell="seed=0", status="failed", error="RuntimeError: no memory | a")
    running = CellRecord(folder=tmp_path / "b", cell="seed=1", scale="tiny")
    text = write(experiment, [failed, running])
    assert "No cell is complete" in text
    assert "RuntimeError: no memory \\| a" in text
    assert "not finished" in text
    assert "No cell is complete" in write(experiment, [])


@pytest.mark.slow
def test_hostile_text_stays_text(make_cell, experiment, tmp_path, write):
    evil = "<script>alert(1)</script> a|b $x_$"
    experiment = replace(experiment, question=evil, claim=evil, labels={"model.brm=true": evil})
    text = write(experiment, [small(make_cell, arm, 0) for arm in (WITH, WITHOUT)])
    assert "<script>" not in text
    assert "a|b" not in text
    page = (tmp_path / "results" / "report.html").read_text()
    assert page.count("<script>") == 1, "the page's own, for printing"
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "strong", "span", "section", "ul", "li"),
    *("dl", "dt", "dd", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    *("figure", "figcaption", "img", "header", "main", "nav", "a", "script"),
}


@pytest.mark.usefixtures("undrawn")
def test_nothing_that_a_record_says_becomes_markup(make_cell, experiment, tmp_path, write):
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>[a](javascript:b) \\input{/etc/passwd} a|b'
    facts = {"command": evil, "git_commit": evil, "versions": {evil: evil}, "hardware": {"processor": evil}}
    facts |= {"cell": evil, "config_hash": evil, "cost": {"parameters": 1, "frame": evil}, "started": evil}
    cells = [small(make_cell, WITHOUT, seed, strata=("pan", "static"), **facts) for seed in range(2)]
    cells += [small(make_cell, WITH, seed, **facts) for seed in range(2)]
    for cell in cells:
        cell.arm = cell.arm | {"data.root": evil}
        table = cell.read_frames().replace({"stratum": {"pan": evil}, "clip": {"person_0": evil}})
        rewrite(cell, table)
    for status in ("failed", "running"):
        cells.append(small(make_cell, {"model.brm": 5}, 0, status=status, **(facts | {"error": evil, "cell": evil})))
        cells[-1].folder.rename(cells[-1].folder.with_name(status))
        cells[-1].folder = cells[-1].folder.with_name(status)
    text = write(replace(experiment, name=evil, source=evil, labels={evil: evil}, primary=["mad"]), cells)
    page = Page((tmp_path / "results" / "report.html").read_text())
    assert set(page.tags) <= TAGS
    assert page.tags.count("script") == 1
    assert all(source.startswith(("data:image/", "#")) or source in OWN_LINKS for source in page.sources)
    assert "&lt;script&gt;" in text
    assert not re.search(r"<\w|[^\\]\]\(javascript", text)
    assert "\\input" not in (tmp_path / "results" / "report.tex").read_text()


@pytest.mark.usefixtures("undrawn")
def test_figures_of_an_earlier_report_go(make_cell, experiment, tmp_path, write):
    cells = [small(make_cell, arm, 0, media=True) for arm in (WITH, WITHOUT)]
    write(experiment, cells)
    assert list((tmp_path / "results" / "figures").glob("panel_*"))
    for path in cells[0].folder.glob("media/*"):
        path.write_bytes(b"torn")
    for path in cells[1].folder.glob("media/*"):
        path.unlink()
    write(experiment, cells)
    assert not list((tmp_path / "results" / "figures").glob("panel_*"))


@pytest.mark.usefixtures("undrawn")
def test_mattes_that_would_make_the_page_large_are_left_out_and_counted(make_cell, experiment, write, monkeypatch):
    monkeypatch.setattr(pages, "MAX_IMAGE_BYTES", 0)
    text = write(experiment, [small(make_cell, WITHOUT, 0, media=True)])
    assert "Mattes of 0 of 2 clips are shown" in text


@pytest.mark.usefixtures("only_tables")
def test_cells_read_from_disk_give_the_report(make_cell, experiment, tmp_path, write):
    for seed in range(2):
        small(make_cell, WITH, seed)
    root = small(make_cell, WITHOUT, 0).folder.parent
    (small(make_cell, WITHOUT, 1).folder / "record.json").write_text("{")
    text = write(experiment, read_cells(root))
    assert "compared on 0 only" in text
    assert "record.json cannot be read" in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


FIELDS = [field.name for field in fields(CellRecord) if field.name != "folder"]


@pytest.mark.usefixtures("only_tables")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON | st.dictionaries(st.text(max_size=4), JSON, max_size=2)),
       lost=st.sets(st.sampled_from(FIELDS), max_size=2))  # fmt: skip
@pytest.mark.slow
def test_no_record_whatever_it_says_stops_a_report(changes, lost, good_cells, experiment, tmp_path_factory):
    root, output = good_cells, tmp_path_factory.mktemp("results")
    path = root / "bad" / "record.json"
    content = json.loads((root / "model.brm=true,seed=0" / "record.json").read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if name not in {*lost, "checksum"}}))
    cells = read_cells(root)
    assert len(cells) == 4
    assert [cell.status for cell in cells if cell.folder.name != "bad"] == ["complete"] * 3
    (bad,) = (cell for cell in cells if cell.folder.name == "bad")
    assert "\n" not in bad.error
    if bad.scale in ("", "tiny"):
        write_report(experiment, cells, output, resamples=10)
    assert sum(len(group) for _, group in experiments_of("some", cells).values()) == 4


@pytest.fixture
def good_cells(make_cell):
    """A folder of three cells, and of one to be made bad."""
    least = {"strata": ("static",), "clips": 2, "frames": 2}
    cells = [small(make_cell, {"model.brm": brm}, seed, **least) for brm, seed in ((True, 0), (False, 0), (True, 1))]
    root = cells[0].folder.parent
    shutil.copytree(cells[0].folder, root / "bad")
    return root
