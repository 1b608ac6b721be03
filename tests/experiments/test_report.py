import json
import re
import shutil
from dataclasses import fields
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import report
from experiments.records.cell_record import CellRecord, read_cells, write_table
from experiments.reporting import plots, tables
from experiments.reporting import report as pages
from experiments.reporting.report import write_report
from tests.experiments.in_process import run_here

WITH, WITHOUT = {"model.brm": True}, {"model.brm": False}


@pytest.fixture
def write(tmp_path):
    """Writes a report with few resamples and gives its Markdown."""

    def write_markdown(experiment, cells):
        write_report(experiment, cells, tmp_path / "results", resamples=200)
        return (tmp_path / "results" / "report.md").read_text()

    return write_markdown


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are put together but not rendered, which takes most of the time."""
    monkeypatch.setattr(plots, "_file", lambda *_, **__: b"image")


@pytest.fixture
def only_tables(monkeypatch):
    """Without figures, and without the scores of the trivial methods."""
    monkeypatch.setattr(pages, "_images", lambda *_: [])
    monkeypatch.setattr(tables, "reference_means", lambda _: {})


def small(make_cell, arm, seed, **fields):
    return make_cell(arm, seed, **({"strata": ("static", "pan"), "clips": 3, "frames": 4} | fields))


def scores(tmp_path):
    return pd.read_csv(tmp_path / "results" / "scores.csv").set_index(["arm", "metric", "stratum"])


def rewrite(cell, table):
    """Gives a complete cell another table."""
    write_table(cell.folder / "metrics.parquet", table)
    cell.save()


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
    assert "**Supported.** The restored background is a prior that lowers the matte's error." in markdown
    answer = (path.parent / "answer.txt").read_text()
    assert "with BRM against without BRM, 3 seeds: better in MAD and dtSSD" in answer
    assert max(map(len, answer.splitlines())) <= 110
    assert re.search(r"^without BRM +[\d.]+ ± [\d.]+ +[\d.]+ ± [\d.]+$", answer, re.MULTILINE)
    row = scores(tmp_path).loc[("model.brm=true", "mad", "all")]
    assert row["relative"] == pytest.approx(-0.1, abs=0.02)
    assert row["verdict"] == "better"
    assert row["p_holm"] < 0.05


@pytest.mark.usefixtures("only_tables")
def test_means_go_from_frame_to_clip_to_stratum_to_all(make_cell, experiment, tmp_path, write):
    cell = small(make_cell, WITHOUT, 0)
    frames = [("a", "1", "x", 0, 1.0), ("a", "1", "x", 1, 3.0), ("b", "1", "x", 0, 4.0), ("c", "1", "y", 0, 9.0)]
    table = pd.DataFrame(frames, columns=["clip", "scene", "stratum", "frame", "mad"])
    rewrite(cell, table.assign(mse=0.5, dtssd=table["frame"] * 0.5))
    write(experiment, [cell])
    means = scores(tmp_path)["mean"]
    assert means[("model.brm=false", "mad", "all")] == pytest.approx(1e3 * ((2 + 4) / 2 + 9) / 2)
    assert means[("model.brm=false", "dtssd", "x")] == pytest.approx(1e2 * (0.25 + 0) / 2)


@pytest.mark.usefixtures("undrawn")
def test_clips_of_one_frame_have_no_temporal_error_past_the_first(make_cell, experiment, tmp_path, write):
    write(experiment, [small(make_cell, arm, seed, frames=1) for arm in (WITH, WITHOUT) for seed in range(2)])
    means = scores(tmp_path)["mean"]
    assert means[("model.brm=true", "dtssd", "all")] == 0
    assert np.isnan(means[("model.brm=true", "dtssd_later", "all")])


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


@pytest.mark.usefixtures("undrawn")
def test_one_arm_alone_is_shown_without_a_comparison(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITHOUT, 0)])
    assert "nothing to compare it with" in text
    assert "## Differences" not in text


@pytest.mark.usefixtures("only_tables")
def test_a_missing_baseline_is_named(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITH, 0)])
    assert "The baseline model.brm=false has no complete cell" in text


@pytest.mark.usefixtures("only_tables")
def test_unequal_seeds_are_paired_on_the_common_ones(make_cell, experiment, tmp_path, write):
    cells = [small(make_cell, WITH, seed) for seed in (0, 1, 2)] + [
        small(make_cell, WITHOUT, seed) for seed in (1, 2, 5)
    ]
    assert "compared on 1, 2 only" in write(experiment, cells)
    assert scores(tmp_path).loc[("model.brm=true", "mad", "all"), "paired_seeds"] == 2
    assert "no seed in common" in write(experiment, [cells[0], cells[3]])


@pytest.mark.usefixtures("only_tables")
def test_one_seed_claims_no_interval_over_seeds(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITH, 0), small(make_cell, WITHOUT, 0)])
    assert "1 seed: nothing is said of training" in text


@pytest.mark.usefixtures("undrawn")
def test_one_seed_and_one_clip_get_no_verdict(make_cell, experiment, tmp_path, write):
    cells = [small(make_cell, arm, 0, strata=("static",), clips=1) for arm in (WITH, WITHOUT)]
    assert "1 seed and 1 clip: no interval can be had" in write(experiment, cells)
    row = scores(tmp_path).loc[("model.brm=true", "mad", "all")]
    assert row["verdict"] == "not testable"
    assert np.isnan(row["difference_low"])


@pytest.mark.usefixtures("undrawn")
def test_nan_is_shown_and_never_averaged_away(make_cell, experiment, write):
    cells = [small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in range(2)]
    table = cells[0].read_frames()
    table.loc[3, "mad"] = np.nan
    rewrite(cells[0], table)
    text = write(experiment, cells)
    assert "MAD of with BRM is NaN in 1 frames (seed 0)" in text
    assert "not testable in MAD" in text


@pytest.mark.usefixtures("only_tables")
def test_cells_of_another_test_set_are_left_out_and_named(make_cell, experiment, write):
    cells = [small(make_cell, WITH, seed) for seed in range(2)]
    cells += [small(make_cell, WITHOUT, 0), small(make_cell, WITHOUT, 1, frames=5)]
    text = write(experiment, cells)
    assert "tested on other clips or frames" in text
    assert "compared on 0 only" in text


@pytest.mark.usefixtures("only_tables")
def test_of_two_cells_of_one_arm_and_seed_the_later_counts(make_cell, experiment, tmp_path, write):
    old, new = small(make_cell, WITHOUT, 0), small(make_cell, {"again": 1}, 0, finished="2027", effect=2.0)
    new.arm = WITHOUT
    assert "run again later" in write(experiment, [old, new])
    expected = new.read_frames().groupby(["stratum", "clip"])["mad"].mean().groupby("stratum").mean().mean()
    assert scores(tmp_path).loc[("model.brm=false", "mad", "all"), "mean"] == pytest.approx(1e3 * expected)


def test_hostile_text_stays_text(make_cell, experiment, tmp_path, write):
    evil = "<script>alert(1)</script> a|b $x_$"
    experiment |= {"question": evil, "claim": evil, "labels": {"model.brm=true": evil}}
    text = write(experiment, [small(make_cell, arm, 0) for arm in (WITH, WITHOUT)])
    assert "<script>" not in text
    assert "a|b" not in text
    page = (tmp_path / "results" / "report.html").read_text()
    assert page.count("<script>") == 1, "the page's own, for printing"
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "strong", "span", "section", "ul", "li"),
    *(
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "figure",
        "figcaption",
        "img",
    ),
    *("header", "main", "nav", "a", "script"),
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
    text = write(experiment | {"name": evil, "source": evil, "labels": {evil: evil}, "primary": ["mad"]}, cells)
    page = Page((tmp_path / "results" / "report.html").read_text())
    assert set(page.tags) <= TAGS
    assert page.tags.count("script") == 1
    assert all(source.startswith(("data:image/", "#")) or source in OWN_LINKS for source in page.sources)
    assert "&lt;script&gt;" in text
    assert not re.search(r"<\w|[^\\]\]\(javascript", text)
    assert "\\input" not in (tmp_path / "results" / "report.tex").read_text()


@pytest.mark.usefixtures("only_tables")
def test_every_row_of_markdown_has_the_columns_of_its_head(make_cell, experiment, write):
    cells = [small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in range(2)]
    for block in re.findall(r"(?:^\|.*\n)+", write(experiment, cells), flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


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
def test_a_torn_strip_leaves_its_row_out(make_cell, experiment, tmp_path, write):
    cell = small(make_cell, WITHOUT, 0, media=True)
    (cell.folder / "media" / "pan__person_0__frame.png").write_bytes(b"torn")
    write(experiment, [cell])
    assert len(list((tmp_path / "results" / "figures").glob("panel_*"))) == 2


@pytest.mark.usefixtures("undrawn")
def test_mattes_that_would_make_the_page_large_are_left_out_and_counted(make_cell, experiment, write, monkeypatch):
    monkeypatch.setattr(pages, "MAX_IMAGE_BYTES", 0)
    text = write(experiment, [small(make_cell, WITHOUT, 0, media=True)])
    assert "Mattes of 0 of 2 clips are shown" in text


@pytest.mark.usefixtures("only_tables")
def test_a_grid_of_arms_is_sorted_by_value_with_the_baseline_first(make_cell, experiment, write):
    arms = [{"model.prm_k": k, "model.prm_xi": xi} for k in (32, 8, 16) for xi in (0.01, 0.003)]
    experiment |= {"baseline": {"model.prm_xi": 0.01, "model.prm_k": 16}, "labels": {}}
    text = write(experiment, [small(make_cell, arm, 0, frames=3) for arm in arms])
    labels = ("prm_k=16, prm_xi=0.01 (baseline)", "prm_k=8, prm_xi=0.003", "prm_k=8, prm_xi=0.01", "prm_k=32")
    order = [text.index(f"\n| {label}") for label in labels]
    assert order == sorted(order)
    assert "MAD of 5 arms against prm_k=16, prm_xi=0.01" in text


@pytest.mark.usefixtures("undrawn")
def test_each_arm_of_a_further_axis_is_compared_within_it(make_cell, experiment, tmp_path, write):
    effects = {(0.5, True): 0.8, (0.5, False): 1.0, (1.0, True): 2.4, (1.0, False): 2.0}
    cells = [
        small(make_cell, {"model.width": width, "model.brm": brm}, seed, effect=effect)
        for (width, brm), effect in effects.items()
        for seed in range(2)
    ]
    text = write(experiment, cells)
    for width in ("0.5", "1.0"):
        assert f"with BRM, width={width} against without BRM, width={width}, 2 seeds: " in text
        assert f"\n| without BRM, width={width} (baseline) |" in text
    assert "nothing is compared" not in text
    table = scores(tmp_path)
    found = table.xs(("mad", "all"), level=("metric", "stratum"))["difference"].dropna()
    assert sorted(found.index) == ["model.brm=true,model.width=0.5", "model.brm=true,model.width=1.0"]
    change = table["relative"].xs(("mad", "all"), level=("metric", "stratum"))
    assert change["model.brm=true,model.width=0.5"] == pytest.approx(-0.2, abs=0.05)
    assert change["model.brm=true,model.width=1.0"] == pytest.approx(0.2, abs=0.05)
    against = table["against"].xs(("mad", "all"), level=("metric", "stratum"))
    assert against["model.brm=true,model.width=1.0"] == "model.brm=false,model.width=1.0"


@pytest.mark.usefixtures("only_tables")
def test_an_arm_without_its_own_baseline_is_named_and_the_others_are_compared(make_cell, experiment, write):
    arms = [(0.5, True), (0.5, False), (1.0, True)]
    cells = [small(make_cell, {"model.brm": brm, "model.width": width}, 0) for width, brm in arms]
    text = write(experiment, cells)
    assert "The baseline model.brm=false,model.width=1.0 has no complete cell: with BRM, width=1.0 cannot" in text
    assert "with BRM, width=0.5 against without BRM, width=0.5" in text


CLAIMS = "Published claims, on these data and at this scale: "


@pytest.mark.usefixtures("only_tables")
@pytest.mark.parametrize(
    ("effect", "seeds", "told"),
    [(0.5, 3, "supported: The restored background is"), (2.0, 3, "contradicted: The"), (0.5, 2, "too few seeds: The")],
)
def test_published_claims_get_a_finding_that_a_terminal_shows_too(
    make_cell, experiment, tmp_path, write, effect, seeds, told
):
    cells = [small(make_cell, arm, seed, effect=effect if arm is WITH else 1.0, clips=8)
             for arm in (WITH, WITHOUT) for seed in range(seeds)]  # fmt: skip
    assert CLAIMS + told in write(experiment, cells)
    assert CLAIMS in (tmp_path / "results" / "answer.txt").read_text()
    assert CLAIMS not in write(experiment | {"name": "of my own"}, cells)


@pytest.mark.usefixtures("only_tables")
def test_where_no_difference_is_shown_it_is_told_what_is_excluded_and_what_would_be_shown(make_cell, experiment, write):
    draw = np.random.default_rng(0)
    cells = []
    for arm in (WITH, WITHOUT):
        for seed in range(4):
            cell = small(make_cell, arm, seed, clips=8)
            table = cell.read_frames()
            table["mad"] *= np.exp(0.2 * draw.normal() + 0.2 * draw.normal(size=len(table)))
            cells.append(cell)
            rewrite(cell, table)
    told = write(experiment | {"primary": ["mad"]}, cells).split("##")[0]
    assert re.search(r"no difference shown in MAD \(changes beyond −\d+ … \+\d+ % are excluded; a true ", told)
    assert re.search(r"a true change of −\d+ / \+\d+ % would be shown by four of five such experiments", told)


@pytest.mark.usefixtures("only_tables")
def test_bad_descriptions_are_refused_in_one_line(make_cell, experiment, write):
    with pytest.raises(ValueError, match="primary metric madd is not known"):
        write(experiment | {"primary": ["madd"]}, [])
    with pytest.raises(ValueError, match="smoke, tiny"):
        write(experiment, [small(make_cell, WITH, 0), small(make_cell, WITHOUT, 0, scale="smoke")])


@pytest.mark.usefixtures("only_tables")
def test_cells_read_from_disk_give_the_report(make_cell, experiment, tmp_path, write):
    for seed in range(2):
        small(make_cell, WITH, seed)
    root = small(make_cell, WITHOUT, 0).folder.parent
    (small(make_cell, WITHOUT, 1).folder / "record.json").write_text("{")
    text = write(experiment, read_cells(root))
    assert "compared on 0 only" in text
    assert "record.json cannot be read" in text


FURTHER = {"sad": 20.0, "grad": 900.0, "grad_nonorm": 1200.0, "conn": 400.0, "fgr_mse": 0.9, "fgr_mad": 3.0}


def measure_more(cell, **columns):
    """Adds columns to a cell's table, each in proportion to its MAD."""
    table = cell.read_frames()
    rewrite(cell, table.assign(**{name: f * table["mad"] for name, f in columns.items()}))
    return cell


@pytest.mark.usefixtures("only_tables")
def test_all_metrics_of_a_record_are_shown_with_their_units_and_directions(make_cell, experiment, tmp_path, write):
    cells = [
        small(make_cell, arm, seed, effect=0.7 if arm is WITH else 1.0) for arm in (WITH, WITHOUT) for seed in range(3)
    ]
    for cell in cells:
        measure_more(cell, **FURTHER)
        table = cell.read_frames()
        rewrite(cell, table.assign(iou=1 - table["mad"]))
    text = write(experiment, cells)
    first = re.search(r"## Scores\n\n(.*)\n", text).group(1)
    order = ["MAD (", "MSE (", "Grad (", "Conn (", "dtSSD (", "dtSSD without frame 0 (", "Foreground MSE ("]
    places = [first.index(f" {label}") for label in order]
    assert places == sorted(places)
    assert "IoU" not in first
    assert "of IoU higher" in text
    found = scores(tmp_path)
    assert found.loc[("model.brm=true", "iou", "all"), "verdict"] == "better"
    assert found.loc[("model.brm=true", "conn", "all"), "mean"] == pytest.approx(
        400e-6 * found.loc[("model.brm=true", "mad", "all"), "mean"]
    )
    assert found.loc[("model.brm=true", "conn", "all"), "p_bh"] <= 1
    assert np.isnan(found.loc[("model.brm=true", "conn", "all"), "p_holm"])
    assert "(BH)" in text


@pytest.mark.usefixtures("only_tables")
def test_the_error_of_the_flow_stands_beside_that_of_the_mattes_by_stratum(make_cell, experiment, tmp_path, write):
    assert "Flow and mattes" not in write(experiment, [small(make_cell, WITHOUT, 0)])
    cells = []
    for seed in range(2):
        moving, exact, without = (
            make_cell({"model.flow": flow}, seed, strata=("static", "pan"), clips=3, frames=4)
            for flow in ("none", "oracle", "gru")
        )
        table = moving.read_frames()
        motion = np.where(table["stratum"] == "pan", 4.0 + seed, 0.5)
        motion[table["frame"] == 0] = np.nan
        rewrite(moving, table.assign(epe=motion))
        rewrite(exact, exact.read_frames().assign(epe=0.0 * motion))
        cells += [moving, exact, without]
    text = write(experiment | {"baseline": {"model.flow": "none"}, "labels": {}}, cells)
    table = text.split("## Flow and mattes by stratum")[1].split("##")[0]
    assert "| Stratum | Arm | End-point error (pixels) | MAD (× 10⁻³) | dtSSD (× 10⁻²) |" in table
    assert "| static | flow=none | 0.50 ± 0.00 |" in table
    assert "| pan | flow=none | 4.50 ± 0.71 |" in table
    assert "| pan | flow=oracle | 0.00 ± 0.00 |" in table
    assert "| pan | flow=gru | — |" in table
    assert "End-point error was not measured" not in text, "a net without flow has none"
    assert scores(tmp_path).loc[("model.flow=none", "epe", "pan"), "mean"] == pytest.approx(4.5)


@pytest.mark.usefixtures("only_tables")
def test_a_metric_that_one_arm_lacks_is_shown_for_the_others(make_cell, experiment, write):
    cells = [measure_more(small(make_cell, WITH, 0), fgr_mse=0.5), small(make_cell, WITHOUT, 0)]
    text = write(experiment, cells)
    assert "Foreground MSE was not measured in every cell of without BRM" in text
    assert re.search(r"\| without BRM \(baseline\) \| 1 \|.*\| — \|\n", text)


@pytest.mark.usefixtures("only_tables")
def test_frames_with_nothing_to_measure_are_counted_and_left_out(make_cell, experiment, tmp_path, write):
    cells = [measure_more(small(make_cell, arm, seed), fgr_mse=0.5) for arm in (WITH, WITHOUT) for seed in range(2)]
    for cell in cells:
        table = cell.read_frames()
        table.loc[table["frame"] == 2, "fgr_mse"] = np.nan
        rewrite(cell, table)
    assert "Foreground MSE has nothing to measure in 6 of 24 frames" in write(experiment, cells)
    assert np.isfinite(scores(tmp_path).loc[("model.brm=true", "fgr_mse", "all"), "difference"])


@pytest.mark.usefixtures("only_tables")
def test_every_quantity_of_the_specification_is_in_the_detailed_table(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, arm, seed) for arm in (WITH, WITHOUT) for seed in range(3)])
    table = text.split("## Every figure of the comparisons")[1].split("##")[0]
    columns = ("Mean", "Baseline", "Difference [95 %]", "Relative change [95 %]", "Same within ±2 %", "Effect size",
               "Interquartile mean [95 %]", "Cliff's δ", "P(improvement) [95 %]", "Adjusted p")  # fmt: skip
    assert all(f"| {column} |" in table for column in columns)
    assert "| dtSSD without frame 0 | with BRM |" in table
    for fact in ("Scoring", "Conventions", "Averaging", "Seeds", "Test set", "Intervals", "Family"):
        assert f"\n| {fact} |" in text
    assert "generator seed 0" in text


@pytest.mark.usefixtures("undrawn")
def test_an_arm_whose_cells_all_failed_is_shown_as_failed(make_cell, experiment, write):
    text = write(
        experiment, [small(make_cell, WITHOUT, 0), small(make_cell, WITH, 0, status="failed", error="no memory")]
    )
    assert "| with BRM | 0 | failed | failed |" in text
    assert "no memory" in text


@pytest.mark.usefixtures("only_tables")
def test_a_primary_metric_of_the_experiment_that_no_record_has_is_replaced_and_named(make_cell, experiment, write):
    text = write(experiment | {"primary": ["grad"]}, [small(make_cell, arm, 0) for arm in (WITH, WITHOUT)])
    assert "Grad was not measured." in text
    assert "Declared before the runs: MAD" in text


@pytest.mark.usefixtures("undrawn")
def test_cost_is_drawn_where_arms_differ_in_it(make_cell, experiment, tmp_path, write):
    cost = {"parameters": 1, "milliseconds_per_frame": 4.0, "frame": "96×96"}
    cells = [
        small(make_cell, arm, 0, cost=cost | {"gmacs_per_frame": gmacs}) for arm, gmacs in ((WITH, 2.0), (WITHOUT, 1.0))
    ]
    assert "figures/cost.png" in write(experiment, cells)
    same = [small(make_cell, arm, 1, cost=cost | {"gmacs_per_frame": 1.0}) for arm in (WITH, WITHOUT)]
    assert "figures/cost.png" not in write(experiment, same)


@pytest.mark.usefixtures("only_tables")
def test_a_folder_of_evaluations_gives_a_report_for_each_test_set(make_cell, tmp_path, monkeypatch, capsys):
    for place, model in enumerate(("modnet", "rvm", "rvm")):
        arm = {"model": model, "checkpoint": "none" if place else "modnet.pth", "options": "default"}
        study = "VM" if place < 2 else "D646"
        cell = small(make_cell, arm, 0, study=study, experiment="evaluate", scale="", cell=f"{model}-{study}")
        cell.folder.rename(cell.folder.with_name(f"{model}-{study}"))
    folder, output = tmp_path / "outputs", tmp_path / "reports"
    monkeypatch.setattr("sys.argv", ["report", f"records={folder}", "baseline=modnet-VM", f"output={output}"])
    assert report.main() == 0
    assert capsys.readouterr().out.count("report    ") == 2
    text = (output / "VM" / "report.md").read_text()
    assert "| modnet, modnet.pth (baseline) |" in text
    assert "rvm, no checkpoint against modnet, modnet.pth, 1 seed" in text
    assert "modnet" not in (output / "D646" / "report.md").read_text().split("## Scores")[1].split("##")[0]
    for wrong, words in (("baseline=fba", "no record is called so"), ("base=x", "base is not understood")):
        monkeypatch.setattr("sys.argv", ["report", f"records={folder}", wrong])
        with pytest.raises(ValueError, match=words):
            report.main()
    monkeypatch.setattr("sys.argv", ["report", f"records={tmp_path / 'nowhere'}"])
    with pytest.raises(ValueError, match="no records"):
        report.main()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
FIELDS = [field.name for field in fields(CellRecord) if field.name != "folder"]


@pytest.mark.usefixtures("only_tables")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON | st.dictionaries(st.text(max_size=4), JSON, max_size=2)),
       lost=st.sets(st.sampled_from(FIELDS), max_size=2))  # fmt: skip
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
    assert sum(len(group) for _, group in report.experiments_of("some", cells).values()) == 4


@pytest.fixture
def good_cells(make_cell):
    """A folder of three cells, and of one to be made bad."""
    least = {"strata": ("static",), "clips": 2, "frames": 2}
    cells = [small(make_cell, {"model.brm": brm}, seed, **least) for brm, seed in ((True, 0), (False, 0), (True, 1))]
    root = cells[0].folder.parent
    shutil.copytree(cells[0].folder, root / "bad")
    return root


@pytest.mark.usefixtures("only_tables")
def test_damaged_records_are_named_in_a_line_and_left_out(make_cell, monkeypatch, capsys, tmp_path):
    cells = [small(make_cell, {"model.brm": brm}, seed) for brm in (True, False) for seed in range(3)]
    root = cells[0].folder.parent
    with (cells[0].folder / "metrics.parquet").open("r+b") as file:
        file.write(b"PAR2")
    for cell, name, data in (
        (cells[1], "config.yaml", b"gr\xf6\xdfe: 3\n"),
        (cells[4], "history_matting.csv", b"step\na\n"),
    ):
        (cell.folder / name).write_bytes(data)
    path = cells[5].folder / "record.json"
    path.write_text(path.read_text().replace("400.0", "4.0"))
    monkeypatch.setattr("sys.argv", ["report", f"records={root}", f"output={tmp_path}/results"])
    assert report.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2].replace(f"{root}/", "") for line in lines if line.startswith("left out")] == [
        "model.brm=false,seed=1/history_matting.csv is damaged or was changed: record.json has another checksum; "
        "run the cell again",
        "model.brm=false,seed=2/record.json is damaged or was edited: its checksum is another; run the cell again",
        "model.brm=true,seed=0/metrics.parquet is damaged or was changed: record.json has another checksum; "
        "run the cell again",
        "model.brm=true,seed=1/config.yaml is damaged or was changed: record.json has another checksum; "
        "run the cell again",
    ]
    assert sum(line.startswith("report ") for line in lines) == 2
    pages = [page.read_text() for page in (tmp_path / "results").rglob("report.md")]
    assert sum("Cells that are not in the figures" in page for page in pages) == 2


def evaluated(make_cell, folder, name, arm, **fields):
    """A record as `experiments.evaluate` leaves it."""
    arm = {"model": "", "checkpoint": "none", "options": "default"} | arm
    cell = small(make_cell, arm, 0, **{"experiment": "evaluate", "scale": "", "study": "test", "cell": name, **fields})
    return cell.folder.rename(cell.folder.with_name(name))


def of_data(digest):
    return {"data": {"fingerprint": digest, "files": 2, "bytes": 100, "parts": {}}}


@pytest.mark.usefixtures("only_tables")
def test_without_a_named_baseline_the_first_record_is_it(make_cell, tmp_path, monkeypatch, capsys):
    for name, arm in (("b", {"model": "rvm"}), ("a", {"model": "modnet", "checkpoint": "single"})):
        evaluated(make_cell, tmp_path, name, arm, **of_data("11"))
    words = ["report", f"records={tmp_path / 'outputs'}", f"output={tmp_path / 'reports'}"]
    monkeypatch.setattr("sys.argv", words)
    assert report.main() == 0
    text = (tmp_path / "reports/test/report.md").read_text()
    assert "| modnet, single (baseline) |" in text
    assert "rvm, no checkpoint against modnet, single, 1 seed" in text
    assert text.count("(baseline)") == text.count("modnet, single (baseline)")
    assert "| Data | fingerprint 11: 2 files, 0.0 MB |" in text
    monkeypatch.setattr("sys.argv", [*words, "baseline=b"])
    assert report.main() == 0
    assert "| rvm, no checkpoint (baseline) |" in (tmp_path / "reports/test/report.md").read_text()
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["report", "--help"])
    assert report.main() == 0
    assert "baseline=NAME" in capsys.readouterr().out


@pytest.mark.usefixtures("only_tables")
def test_records_of_two_sets_of_one_name_have_a_report_each(make_cell, tmp_path, monkeypatch, capsys):
    for place, digest in enumerate(("11", "22", None)):
        for model in ("modnet", "rvm"):
            data = of_data(digest) if digest else {}
            evaluated(make_cell, tmp_path, f"{model}{place}", {"model": model}, **data)
    monkeypatch.setattr("sys.argv", ["report", f"records={tmp_path / 'outputs'}", f"output={tmp_path / 'reports'}"])
    assert report.main() == 0
    assert capsys.readouterr().out.count("there are records of other data under this name") == 3
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        "test,data=11", "test,data=22", "test,data=unknown",
    }  # fmt: skip
    text = (tmp_path / "reports/test,data=22/report.md").read_text()
    assert "rvm1" in text
    assert "rvm0" not in text


@pytest.mark.usefixtures("only_tables")
def test_cells_of_other_data_are_named_and_left_out_and_those_that_do_not_say_are_named(make_cell, experiment, write):
    cells = [small(make_cell, arm, seed, **of_data("11")) for arm in (WITH, WITHOUT) for seed in (0, 1)]
    cells.append(small(make_cell, WITH, 2, effect=9.0, **of_data("22")))
    cells.append(small(make_cell, WITHOUT, 3))
    text = write(experiment, cells)
    assert "of other data (22) than the other cells (11)" in text
    assert f"{cells[-1].cell}: its record does not say what data it is of." in text
    assert "with BRM: 0, 1; without BRM: 0, 1, 3" in text or "without BRM: 0, 1, 3; with BRM: 0, 1" in text
    alone = write(experiment, [small(make_cell, arm, 5) for arm in (WITH, WITHOUT)])
    assert "does not say" not in alone


def test_reports_of_two_comparisons_do_not_mix(make_cell, tmp_path, monkeypatch, capsys):
    for seed, key in enumerate(("", "model.hidden=4")):
        for arm in (WITH, WITHOUT):
            cell = small(make_cell, arm, seed, scale="smoke", study=key)
            shutil.move(cell.folder, tmp_path / "runs" / "brm_ablation" / f"{key}{cell.folder.name}")
    places = [f"output_dir={tmp_path}/runs", f"results_dir={tmp_path}/reports"]
    for more in ([], ["model.hidden=4"]):
        result = run_here(report.main, ["+exp=brm_ablation", "scale=smoke", *more, *places], monkeypatch, capsys)
        assert result.returncode == 0, result.stderr
    reports = {path.parent.name: path.read_text() for path in tmp_path.glob("reports/brm_ablation/*/report.md")}
    assert reports.keys() == {"smoke", "smoke,model.hidden=4"}
    told = {name: [seed for seed in (0, 1) if f"seed={seed}" in text] for name, text in reports.items()}
    assert told == {"smoke": [0], "smoke,model.hidden=4": [1]}


def test_the_share_of_the_bounds_gain_is_told_with_its_interval(make_cell, experiment, write):
    experiment |= {"bound": {"model.brm": "oracle"}, "labels": {**experiment["labels"], "model.brm=oracle": "oracle"}}
    effects = {False: 1.0, True: 0.9, "oracle": 0.5}
    cells = [make_cell({"model.brm": brm}, seed, effect) for brm, effect in effects.items() for seed in range(4)]
    (told,) = re.findall(r"Of what oracle gains, with BRM gains (.*)", write(experiment, cells))
    (share, low, high), _ = ([int(n) for n in found] for found in re.findall(r"(\d+) % \[(\d+), (\d+)\]", told))
    assert low < share < high
    assert abs(share - 20) < 3


def test_no_share_is_told_of_a_gain_that_the_bound_does_not_have(make_cell, experiment, write):
    experiment |= {"bound": {"model.brm": "oracle"}}
    cells = [make_cell({"model.brm": brm}, seed) for brm in (False, True, "oracle") for seed in range(3)]
    text = write(experiment, cells)
    assert (
        "brm=oracle shows no clear gain in MAD and dtSSD: there is nothing that with BRM could have a share of." in text
    )
    assert "Of what" not in text


@pytest.mark.usefixtures("only_tables")
@pytest.mark.parametrize(("values", "shown"), [("true,false", False), ("true,false,mistyped", True)])
def test_a_cell_that_failed_by_a_mistyped_value_is_told_of_only_where_it_is_asked_for(
    make_cell, tmp_path, monkeypatch, capsys, values, shown
):
    for arm in (WITH, WITHOUT):
        small(make_cell, arm, 0)
    small(make_cell, {"model.brm": "mistyped"}, 0, status="failed", error="ValueError: no such brm")
    (tmp_path / "outputs").rename(tmp_path / "brm_ablation")
    words = ["+exp=brm_ablation", f"model.brm={values}", f"output_dir={tmp_path}", f"results_dir={tmp_path / 'r'}"]
    ended = run_here(report.main, words, monkeypatch, capsys)
    assert ended.returncode == 0, ended.stderr
    assert ("no such brm" in ended.stdout) is shown
    assert ("no such brm" in (tmp_path / "r/brm_ablation/tiny/report.md").read_text()) is shown
    assert "reference none is committed" in ended.stdout


@pytest.mark.usefixtures("only_tables")
def test_a_cell_that_nobody_works_on_is_interrupted(make_cell, experiment, write):
    text = write(experiment, [small(make_cell, WITH, 0), small(make_cell, WITH, 1, status="running")])
    assert "| interrupted | not finished |" in text
