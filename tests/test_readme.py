"""What the README says is true of this checkout; tests/test_docs.py asks the same of the pages that it links."""

import re
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_python_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    whole = names["net"](names["frames"], downsample_ratio=0.5).alpha
    torch.testing.assert_close(torch.cat((names["first"].alpha, names["rest"].alpha), dim=1), whole, atol=1e-4, rtol=0)


def test_its_first_line_installs_and_runs_and_its_second_tests() -> None:
    first, second = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)[:2]
    assert first.strip() == "pip install -e . && python -m experiments.run +exp=brm_ablation"
    assert second.strip() == 'pip install -e ".[dev]" && pytest'


def test_its_pictures_and_links_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_it_is_read_in_two_screens() -> None:
    assert len(README.splitlines()) <= 120
