"""The pages of docs/: the tour runs, lists are whole, and the site asks no other address for anything."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from experiments.benchmarks.subjects import parse_subject
from lightning_modules.metrics.table import FIGURES
from lightning_modules.nets import build_net
from lightning_modules.nets.published import PUBLISHED

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CONFIGS = ROOT / "experiments" / "configs"
PAGES = sorted(DOCS.rglob("*.md"))


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of each row of the table below a header."""
    table = text.split(header)[1].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


@pytest.mark.slow
def test_the_tour_runs_as_it_stands(tour: Path) -> None:
    for told in ("results/brm_ablation/smoke/report.html", "outputs/evaluate", "me/alpha.mp4", "me/compare.png"):
        assert (tour / told).exists(), told


def test_every_experiment_is_listed_and_no_other() -> None:
    listed = {row[0].strip("`") for row in rows(read("experiments.md"), "| `+exp=` | asks |")}
    assert listed == {path.stem for path in (CONFIGS / "exp").glob("*.yaml")}


def test_scales_have_the_sizes_that_are_told() -> None:
    told = rows(read("experiments.md"), "| `scale=` | frames | steps | for |")
    assert len(told) == len(list((CONFIGS / "scale").glob("*.yaml")))
    for name, size, steps, _ in told:
        path = CONFIGS / "scale" / f"{name.split('`')[1]}.yaml"
        scale = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert (f"{scale['size']} px", f"{scale['steps']:,}") == (size, steps)


def test_all_published_weights_are_listed_and_no_others_with_their_licences() -> None:
    told = {
        name: licence
        for names, licence, _ in rows(read("weights.md"), "| names | licence | from |")
        for name in re.findall(r"`(\w+)`", names)
    }
    assert told == {name: row.licence for name, row in PUBLISHED.items()}


@pytest.mark.parametrize("page", sorted((DOCS / "models").glob("*.md")), ids=lambda page: page.stem)
def test_nets_have_as_many_parameters_as_their_pages_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    told = rows(text, "| net | parameters |")
    for name, parameters, *_ in told:
        subject = parse_subject(name.strip("`"))
        with torch.device("meta"):
            net = build_net(subject.name, **subject.options)
        flow = getattr(net, "flow", None)
        counted = sum(each.numel() for each in net.parameters())
        counted -= sum(each.numel() for each in flow.parameters()) if flow is not None else 0
        assert f"{counted:,}" == parameters, name


def test_the_glossary_knows_every_metric_of_the_reports() -> None:
    terms = set(re.findall(r"^- \*\*(.+?)\*\*", read("glossary.md"), flags=re.MULTILINE))
    assert {row.label for row in FIGURES.values()} <= terms


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_modules_that_pages_name_are_there(page: Path) -> None:
    for name in re.findall(r"python -m ((?:experiments|tests\.campaigns)\.\w+)", page.read_text(encoding="utf-8")):
        assert (ROOT / f"{name.replace('.', '/')}.py").exists(), name


@pytest.mark.slow
def test_the_site_builds_and_asks_no_other_address_for_anything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    loads = r"""<(?:script|img|iframe|source|video|link)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//"""
    for page in pages:
        assert not re.search(loads, page.read_text(encoding="utf-8")), page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"""(?:url\(|@import )["']?(?:https?:)?//""", style.read_text(encoding="utf-8")), style
