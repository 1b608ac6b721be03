"""A checkpoint is scored on the data of the run that left it, unless the command line names others."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from experiments.command.composing import CONFIGS
from experiments.records.cell_record import CellRecord
from experiments.scoring.trained_data import as_value, data_overrides, take_data, trained_config


def compose_plain(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(name, overrides=list(overrides))


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    """Leaves the config of a run, and gives the path of its checkpoint."""

    def leave(*overrides: str) -> Path:
        folder = tmp_path / "cell"
        folder.mkdir(exist_ok=True)
        config = compose_plain("config", f"output_dir={tmp_path}/training", *overrides)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(plain))
        return folder / "model.pt"

    return leave


def data_of(checkpoint: Path, *words: str) -> dict[str, Any]:
    """The data that a command line gets, which is composed as `experiments.evaluate` does."""
    given = {"checkpoint": str(checkpoint)} | {word.partition("=")[0].lstrip("+~"): word for word in words}
    given |= {"testset": "rvm"} if "testset=rvm" in words else {}
    config = trained_config(given)
    assert config is not None
    composed = compose_plain("evaluate", *words, *data_overrides(config, given))
    take_data(composed, config, given)
    data: Any = OmegaConf.to_container(composed.data, resolve=True)
    return dict(data)


def without_cache(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    return {name: without_cache(value) for name, value in data.items() if name != "cache_dir"}


OWN = ("data=video_mattes", "data.root='my, people=1'", "data.scenes=places")


@pytest.mark.parametrize(
    "overrides",
    [
        ("scale=smoke",),
        ("data.world=5", "data.test_clips=2", "data.source.test.seed=7"),
        (*OWN, "data.person='[a-z]+_[a-z]+'", "scale=small", "data.difficulty.noise_std=[0,0.1]"),
        ("data=image_mattes", "data.root=people", "data.scenes=places", "+data.source.shares=[0,0,1]"),
        ("+exp=background_dynamics",),
        ("+test_strata=compression",),
    ],
)
def test_the_data_are_those_of_the_run(trained: Callable[..., Path], overrides: tuple[str, ...]) -> None:
    checkpoint = trained(*overrides)
    saved = yaml.safe_load(checkpoint.with_name("config.yaml").read_text())
    found = data_of(checkpoint)
    assert without_cache(found) == without_cache(saved["data"])
    assert found["cache_dir"] == "outputs/cache"


def test_a_setting_of_the_command_line_wins_with_all_that_follows_from_it(trained: Callable[..., Path]) -> None:
    checkpoint = trained(*OWN, "scale=smoke", "data.test_clips=3")
    moved = data_of(checkpoint, "data.root=elsewhere")
    assert (moved["root"], moved["source"]["root"], moved["scenes"]) == ("elsewhere", "elsewhere", "places")
    assert data_of(checkpoint, "data.test_clips=1")["test_clips"] == 1
    larger = data_of(trained("scale=smoke", "data.world=5"), "scale=tiny")
    tiny = OmegaConf.to_container(compose_plain("evaluate", "data.world=5").data, resolve=True)
    assert larger == tiny
    as_protocol = data_of(trained("data.world=5"), "testset=rvm", "data.test_clips=7")
    assert (as_protocol["world"], as_protocol["source"]["test"]["num_clips"]) == (5, 7)


def test_data_that_are_named_and_checkpoints_without_a_run_take_nothing(trained: Callable[..., Path]) -> None:
    checkpoint = str(trained())
    assert trained_config({"checkpoint": checkpoint}) is not None
    assert trained_config({"checkpoint": checkpoint, "data": "procedural"}) is None
    assert trained_config({"checkpoint": checkpoint, "testset": "folder"}) is None
    assert trained_config({"checkpoint": "nowhere/model.pt"}) is None
    assert trained_config({}) is None


@pytest.mark.parametrize("text", ["{torn", "seed: 0\n", "[]", "data: {source: {name: gone}}\nscale: {name: tiny}\n"])
def test_a_config_that_tells_no_data_is_refused_in_one_line(trained: Callable[..., Path], text: str) -> None:
    checkpoint = trained()
    checkpoint.with_name("config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml: .*name the data: data=… or testset=…") as caught:
        trained_config({"checkpoint": str(checkpoint)})
    assert "\n" not in str(caught.value)


def test_a_value_is_quoted_as_the_grammar_asks(tmp_path: Path) -> None:
    for value in ("plain", "a b", "it's", "x=1,y=2", "[a-z]+", "~/people"):
        composed = compose_plain("evaluate", f"name={as_value(value)}")
        assert composed.name == value


@pytest.mark.slow
def test_the_command_scores_own_people_and_says_so(
    trained: Callable[..., Path],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from experiments import evaluate
    from experiments.inference.saved_nets import save_net
    from experiments.records.cell_record import CellRecord
    from lightning_modules.nets import build_net

    own = ("data=image_mattes", f"data.root={pictures}/people", f"data.scenes={pictures}/places")
    monkeypatch.setattr(evaluate, "streaming_cost", lambda *_: {})
    small = ("scale=smoke", "scale.test_clips=1", "scale.test_frames=2")
    checkpoint = trained(*own, *small)
    net = build_net("modnet", width=0.25, hidden=8)
    net.reset_parameters(0)
    save_net(checkpoint, net, {"name": "modnet", "width": 0.25, "hidden": 8, "pretrained": False})

    def scored(*overrides: str) -> tuple[Any, str]:
        words = ["evaluate", f"checkpoint={checkpoint}", f"output_dir={tmp_path}/out", "metrics=[mad]", *overrides]
        monkeypatch.setattr(sys, "argv", words)
        GlobalHydra.instance().clear()
        assert evaluate.main() == 0
        out = capsys.readouterr().out
        folder = next(line.split()[1] for line in out.splitlines() if line.startswith(("evaluate ", "skip ")))
        return CellRecord.load(Path(folder.rstrip(":"))), out

    record, out = scored()
    assert {row.partition("/")[0] for row in record.read_frames()["scene"]} == {"places"}
    assert "data      of the run that left" in out
    assert f"data: image_mattes, people of {tmp_path}/people, places of {tmp_path}/places; 2 files" in out
    named, _ = scored(*own, *small)
    assert (named.metrics["mad"], named.data) == (record.metrics["mad"], record.data)
    harder, _ = scored("data.difficulty.noise_std=[0.1,0.1]")
    assert harder.study.startswith("image_mattes")
    assert {name for name, part in harder.data["parts"].items() if part != record.data["parts"][name]} == {
        "conditions of test"
    }
    by_code, out = scored("data=procedural", *small)
    assert by_code.data["files"] == 0
    assert "of the run that left" not in out
    assert "data: procedural; made by code" in out


def test_a_config_that_was_changed_beside_its_record_is_refused(make_cell: Callable[..., CellRecord]) -> None:
    folder = make_cell({"model.brm": True}, 0, strata=("static",), clips=1, frames=2).folder
    (folder / "config.yaml").write_text("data: {evaluation_seed: 1}")
    with pytest.raises(ValueError, match=r"config\.yaml is damaged or was changed"):
        trained_config({"checkpoint": str(folder / "model.pt")})
