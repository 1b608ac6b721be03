from pathlib import Path

import pytest

from experiments.benchmark import make_parser, parse_variant
from tests.campaigns.gpu import commands


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
