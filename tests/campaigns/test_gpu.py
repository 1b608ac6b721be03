from pathlib import Path

import pandas as pd
import pytest

from experiments.benchmark import make_parser, parse_variant
from tests.campaigns.gpu import commands, judged


@pytest.mark.parametrize("smoke", [True, False])
@pytest.mark.parametrize("code", [Path("clones"), None])
def test_the_benchmarks_take_every_word(tmp_path: Path, code: Path | None, smoke: bool) -> None:
    found = commands(tmp_path, code, smoke)
    assert found.pop("tests")[:1] == ["pytest"]
    assert {words[0] for words in found.values()} == {"experiments.benchmark"}
    taken = {name: make_parser().parse_args(words[1:]) for name, words in found.items()}
    assert all(Path(options.output) == tmp_path / name for name, options in taken.items())
    variants = [parse_variant(text) for name in taken if "official" in name for text in taken[name].variants]
    assert (("fp32", "streamed") in variants) == (code is not None)
    assert (("fp16", "streamed") in variants) == (code is not None and not smoke)


def test_a_goal_is_missed_by_too_little_speed_or_by_uneven_times() -> None:
    rows = [
        ("fp32 eager", 1.0, 1.4),
        ("fp32 eager", 0.99, 1.0),
        ("fp16 streamed", 3.0, 1.15),
        ("fp16 streamed", 2.9, 1.0),
        ("fp16 streamed", 4.0, 1.2),
        ("fp16 fastest", 5.0, 1.0),
    ]
    table = pd.DataFrame(rows, columns=["variant", "ratio", "p99_ratio"]).assign(net="rvm", size="1920x1080@0.25")
    lines = judged(table)
    assert [line.split()[0] for line in lines] == ["met", "MISSED", "met", "MISSED", "MISSED"]
    assert lines[2] == "met      rvm 1920x1080@0.25 fp16 streamed: 3.00 × (goal 3), p99 1.15 × the median"
