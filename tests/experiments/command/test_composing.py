"""Words of a command line: places and patterns as they are written, several values where they are meant."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.command.composing import swept
from experiments.command.quoting import quoted

TEXTS = (
    "outputs/brm_ablation/model.brm=true,scale=smoke,seed=0/model.pt",
    *(
        "My People (2024)",
        "[1080p] {raw}",
        "it's 50% $off",
        'a "b" c',
        "ends with \\",
        "\\'",
        "it's\\",
        "日本/é",
        "e\u0301",
    ),
    *(
        "2024",
        "1e3",
        "true",
        "[a]",
        "{a: 1}",
        "#1",
        "a: b",
        "key=value",
        "'open",
        "(",
        "[a-z]+_[a-z]+",
        ".{1,3}",
        r"\d+",
    ),
)


def read(word: str) -> object:
    (override,) = OverridesParser.create().parse_overrides([quoted(word)])
    assert not override.is_sweep_override()
    return override.value()


@pytest.mark.parametrize("setting", ["checkpoint", "data.root", "+data.source.root"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_place_is_read_as_it_is_written(setting: str, text: str) -> None:
    word = f"{setting}={text}"
    assert read(word) == text
    assert quoted(quoted(word)) == quoted(word)  # a command that starts another one passes its words on


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me (1)")
    assert read("data.root=~/people") == "/home/me (1)/people"
    assert read("data.root=a~b") == "a~b"


def test_several_values_stay_several_unless_a_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert swept([quoted("checkpoint=a.pt,b.pt"), quoted("seed=0,1")]) == ["checkpoint", "seed"]
    Path("a.pt,b.pt").touch()
    assert read("checkpoint=a.pt,b.pt") == "a.pt,b.pt"


def test_null_and_what_has_its_quotes_stay() -> None:
    assert read("testset=null") is None
    assert read("checkpoint='a,b'") == read('checkpoint="a,b"') == "a,b"


def test_of_the_plates_that_an_objective_takes_one_is_the_text_true() -> None:
    plate = "recipe.stages.matting.objective.plate"
    assert read(f"{plate}=true") == read(f"{plate}='true'") == read(f'{plate}="true"') == "true"
    assert read(f"{plate}=first") == "first"
    assert quoted(f"{plate}=true,first") == f"{plate}='true',first"


def test_other_settings_that_hydra_cannot_read_are_told_with_the_quotes_to_copy() -> None:
    with pytest.raises(ValueError, match=r"model\.name2=a\(: Hydra cannot read .* quote it: model\.name2='a\('"):
        quoted("model.name2=a(")
