"""Experiments whose arms are ways of testing one net that is trained already: the real command on files made here."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
import yaml

from experiments.command.quoting import quoted
from experiments.inference.saved_nets import save_net
from experiments.records.cell_record import CellRecord
from experiments.run import run_cells
from experiments.training.nets import make_net, with_weights
from lightning_modules.nets import build_net
from tests.experiments.in_process import run_here
from tests.experiments.one_cell import FEW, EndedCell
from tests.file_server import FileServer
from tests.published_weights import SMALL, publish

SMOKE = ("scale=smoke", "logger=none", *FEW)
ARMS = {
    "published_memory": "test.recurrence",
    "published_ratio": "test.downsample_ratio",
    "published_refiner": "model.refiner",
    "published_precision": "test.precision",
    "published_delay": "test.one_frame_delay",
}
Here = Callable[..., CompletedProcess[str]]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small RVM as a run leaves it, in a folder whose name has what Hydra would split."""
    path = tmp_path / "model.brm=true,seed=0" / "model.pt"
    path.parent.mkdir()
    save_rvm(path, seed=1)
    return path


def save_rvm(path: Path, seed: int) -> None:
    options = {"width": 0.25, "decoder_width": 0.25}
    net = build_net("rvm", **options)
    net.reset_parameters(seed)
    save_net(path, net, {"name": "rvm", **options})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """The command and its cells in this process; its report has a process of its own."""
    for kind in ("spawn_cell", "ForkedCell"):
        monkeypatch.setattr(f"experiments.cells.launchers.{kind}", EndedCell)
    places = (f"output_dir={tmp_path}/outputs", f"results_dir={tmp_path}/results", f"data.cache_dir={tmp_path}/cache")

    def run(*overrides: str) -> CompletedProcess[str]:
        words = [quoted(word) for word in (*SMOKE, *places, *overrides)]
        return run_here(partial(run_cells, words, []), words, monkeypatch, capsys)

    return run


def records(folder: Path, experiment: str) -> list[CellRecord]:
    found = sorted((folder / "outputs" / experiment).glob("*/record.json"))
    return [CellRecord.load(path.parent) for path in found if "~" not in path.parent.name]


@pytest.mark.slow
def test_people_of_a_folder_without_any_to_train_on_tell_two_ways_of_testing_apart(
    weights: Path, pictures: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ("data=image_mattes", f"data.root={pictures}/people", f"data.scenes={pictures}/places")
    all_of_them = ("+data.source.shares=[0,0,1]", "+data.backgrounds.shares=[0,0,1]", "data.test_size=64")
    asked = ("+exp=published_memory", f"model.weights={weights}", *data, *all_of_them, "scale.test_clips=3")
    ended = here(*asked)
    assert ended.returncode == 0, ended.stderr
    both = records(pictures, "published_memory")
    assert [record.status for record in both] == ["complete"] * 2
    assert {name.rpartition(" of ")[2] for record in both for name in record.data["parts"]} == {"test"}
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    for record in both:
        model = yaml.safe_load((record.folder / "config.yaml").read_text())["model"]
        assert model == {"name": "rvm", "weights": str(weights), "weights_sha256": sha256}
        assert "train_seconds" not in record.durations
        assert not (record.folder / "model.pt").exists()
    carried, emptied = (next(r for r in both if r.arm == {"test.recurrence": way}) for way in (True, False))
    assert (carried.memory, emptied.memory) == ("measured", "none")
    told = carried.read_memory()
    assert told is not None
    assert told.loc[told["state"] == "emptied", "mad"].tolist() == pytest.approx(emptied.read_frames()["mad"].tolist())

    (report,) = (pictures / "results/published_memory").glob("*/report.md")
    text = report.read_text()
    assert "memory emptied before each frame against memory carried, the same weights:" in text
    assert "the intervals are over people alone, and hold for this net" in text
    assert "nothing is said of training" not in text
    assert "untrained" not in text
    assert f"SHA-256 {sha256}" in text

    monkeypatch.setattr("experiments.run.subprocess.run", lambda *_, **__: CompletedProcess([], 0, ""))
    again = here(*asked)
    assert again.stdout.count("skip ") == 2
    save_rvm(weights, seed=2)
    anew = here(*asked, "hydra.mode=RUN")
    assert anew.returncode == 0, anew.stderr
    assert "the record is of another config" in anew.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("name", "axis"), ARMS.items())
def test_each_of_them_runs_its_arms(
    name: str, axis: str, weights: Path, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.run.subprocess.run", lambda *_, **__: CompletedProcess([], 0, ""))
    ended = here(f"+exp={name}", f"model.weights={weights}", "data.test_size=64")
    assert ended.returncode == 0, ended.stderr
    found = records(tmp_path, name)
    assert len({str(record.arm[axis]) for record in found}) == len(found) >= 2
    assert all(record.status == "complete" for record in found)
    if name == "published_ratio":  # what a frame costs is told of each arm as it is run
        work = {record.arm[axis]: record.cost["gmacs_per_frame"] for record in found}
        assert work[0.25] < work[0.5] < work[1]


def test_a_plan_tells_the_cells_of_weights_and_starts_none(weights: Path, here: Here, tmp_path: Path) -> None:
    ended = here("+exp=published_precision", f"model.weights={weights}", "plan")
    assert ended.returncode == 0, ended.stderr
    assert "published_precision at smoke: 2 cells; nothing is started" in ended.stdout
    assert "effect    unknown: it takes an arm and the baseline that are complete here" in ended.stdout
    assert not records(tmp_path, "published_precision")


def bad(folder: Path, case: str) -> tuple[list[str], str]:
    """Overrides, and what the one line must say."""
    official = folder / "theirs.pth"
    torch.save({"layer.weight": torch.zeros(1)}, official)
    ours = f"model.weights={folder}/model.brm=true,seed=0/model.pt"
    return {
        "none": ([], "say whose mattes are tested: model.weights=FILE"),
        "no file": (["model.weights=nowhere.pt"], "there is no such file, and none published is called so"),
        "no net": ([f"model.weights={official}"], "does not say which net it is of: add model.name=NET"),
        "other net": ([ours, "model.name=modnet"], "is of a rvm, not of a modnet"),
        "training": ([ours, "recipe=rvm_short"], "give recipe=none"),
        "option": ([ours, "+model.refinr=bilinear"], "refinr"),
    }[case]


@pytest.mark.parametrize("case", ["none", "no file", "no net", "other net", "training", "option"])
@pytest.mark.usefixtures("weights")
def test_what_cannot_be_tested_is_told_in_one_line_before_a_cell_starts(case: str, here: Here, tmp_path: Path) -> None:
    overrides, told = bad(tmp_path, case)
    ended = here("+exp=published_memory", *overrides)
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert (ended.returncode, len(lines)) == (2, 1), ended.stderr
    assert told in lines[0]
    assert not records(tmp_path, "published_memory")


def test_published_weights_by_name_say_net_and_options(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = publish(server, tmp_path, monkeypatch, SMALL)
    model = with_weights({"name": None, "weights": "ours"})
    sha256 = hashlib.sha256(content).hexdigest()
    assert model == {"name": "modnet", "weights": "ours", "weights_sha256": sha256, **SMALL}
    by_file = with_weights({"name": "modnet", "weights": str(tmp_path / "ours.ckpt"), **SMALL})
    one, other = (make_net(each, seed=0).state_dict() for each in (model, by_file))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_weights_that_change_before_the_cell_runs_are_refused(weights: Path) -> None:
    model = with_weights({"name": None, "weights": str(weights)})
    save_rvm(weights, seed=2)
    with pytest.raises(ValueError, match="has changed since this cell was asked for"):
        make_net(model, seed=0)
