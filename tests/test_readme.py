"""What the README says is true of this checkout."""

import re
from pathlib import Path

import yaml

from lightning_modules.nets.published import PUBLISHED

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = ROOT / "experiments" / "configs"


def test_its_python_runs() -> None:
    for code in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(code, "README.md", "exec"), {})


def test_its_first_line_installs_and_runs_and_its_second_tests() -> None:
    first, second = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)[:2]
    assert first.strip() == "pip install -e . && python -m experiments.run +exp=brm_ablation"
    assert second.strip() == 'pip install -e ".[dev]" && pytest'


def test_it_lists_every_experiment_and_no_other() -> None:
    table = README.split("| `+exp=` | asks |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE)) == {
        path.stem for path in (CONFIGS / "exp").glob("*.yaml")
    }


def test_its_scales_have_the_sizes_that_it_says() -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]*\| (\d+) px \| ([\d,]+) \|", README, flags=re.MULTILINE)
    assert len(rows) == 4
    for name, size, steps in rows:
        scale = yaml.safe_load((CONFIGS / "scale" / f"{name}.yaml").read_text(encoding="utf-8"))
        assert (scale["size"], scale["steps"]) == (int(size), int(steps.replace(",", "")))


def test_it_lists_all_published_weights_and_no_others_with_their_licences() -> None:
    table = README.split("| names | licence | from |")[1].split("\n\n")[0]
    told = {}
    for row in table.splitlines()[2:]:
        names, licence = row.split(" | ")[:2]
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), licence)
    assert told == {name: row.licence for name, row in PUBLISHED.items()}


def test_its_pictures_and_links_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
