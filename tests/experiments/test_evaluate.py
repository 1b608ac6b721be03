"""The command that scores one net on one test set: its checkpoints, test sets, options, and what interrupts it."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from experiments import evaluate
from experiments.benchmarks.cost import streaming_cost
from experiments.records.cell_record import CellRecord, read_cells
from experiments.scoring.saved_nets import save_net
from lightning_modules.nets import build_net
from lightning_modules.nets.official import OFFICIAL

SMALL = {"width": 0.25, "hidden": 8}
LENGTHS = (4, 2, 3, 2, 2)  # frames of the clips of the folder
FORKED = multiprocessing.get_context("fork")  # without a second import of everything


@pytest.fixture(autouse=True)
def _cost_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes longer than these clips; tests that read it put `streaming_cost` back."""
    monkeypatch.setattr(evaluate, "streaming_cost", lambda *_: {})


@pytest.fixture(autouse=True)
def _figures_on_a_cpu_are_those_of_the_net_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "StreamedNet", None)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ours, an official one, and a test set in the official layout, 5 clips in 2 strata."""
    root = tmp_path_factory.mktemp("files")
    ours = build_net("modnet_v", **SMALL, working_size=64)
    ours.reset_parameters(3)
    with torch.no_grad():  # a fresh net sees little background, does not look at its memory and refines nothing
        ours.get_parameter("semantic.head.bias").fill_(-2)
        ours.get_parameter("brm.fuse_norm.weight").fill_(1)
        ours.get_parameter("prm.refiner.head.weight").fill_(0.5)
    save_net(root / "run" / "model.pt", ours, {"name": "modnet_v", **SMALL, "working_size": 64, "pretrained": False})
    official = build_net("modnet", **SMALL)
    official.reset_parameters(1)
    theirs = {ours: theirs for theirs, ours in OFFICIAL["modnet"].names().items()}
    state = {f"{theirs[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v for k, v in official.state_dict().items()}
    torch.save(state, root / "official.ckpt")
    draw = np.random.default_rng(0)
    for number, num_frames in enumerate(LENGTHS):
        clip = root / "set" / ("static" if number < 3 else "motion") / f"{number:04d}"
        for layer in ("com", "pha", "fgr", "bgr"):
            (clip / layer).mkdir(parents=True)
            for t in range(num_frames):
                pixels = draw.integers(0, 255, (50, 70) if layer == "pha" else (50, 70, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(clip / layer / f"{t:04d}.png")
    return root


def evaluated(
    monkeypatch: pytest.MonkeyPatch, output: Path, *overrides: str, name: str = "it"
) -> tuple[CellRecord, pd.DataFrame]:
    """The command run in this process: its record and its rows."""
    run(monkeypatch, *overrides, f"output_dir={output}", f"name={name}")
    record = CellRecord.load(output / "evaluate" / name)
    return record, record.read_frames()


def run(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", *overrides])
    GlobalHydra.instance().clear()
    assert evaluate.main() == 0


def our_mad(files: Path) -> tuple[str, ...]:
    return f"checkpoint={files}/run/model.pt", f"testset={files}/set", "metrics=[mad]"


@pytest.fixture(scope="module")
def whole(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CellRecord, pd.DataFrame]:
    """A finished evaluation of our checkpoint, called "it"; of MAD alone."""
    with pytest.MonkeyPatch.context() as patch:
        return evaluated(patch, tmp_path_factory.mktemp("whole"), *our_mad(files))


@pytest.mark.slow
def test_our_checkpoint_on_a_folder_leaves_the_record_of_a_run(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "streaming_cost", streaming_cost)
    record, frames = evaluated(monkeypatch, tmp_path, f"checkpoint={files}/run/model.pt", f"testset={files}/set")
    assert record.status == "complete"
    assert record.experiment == "evaluate"
    assert record.arm == {"model": "modnet_v", "checkpoint": "run", "options": "default"}
    assert record.cost["parameters"] > 0
    assert record.metrics["mad"] is not None
    assert len(frames) == sum(LENGTHS)
    assert {"mad", "mse", "sad", "grad", "conn", "dtssd", "fgr_mse", "iou", "coverage"} <= set(frames)
    config = yaml.safe_load((record.folder / "config.yaml").read_text())
    assert config["model"]["working_size"] == 64
    assert config["model"]["brm_update"] == "average"  # a default, written out
    assert len(list((record.folder / "media").glob("*__alpha_pred.png"))) == 2
    assert not (record.folder / "parts").exists()
    assert [cell.status for cell in read_cells(tmp_path / "evaluate")] == ["complete"]
    table = (record.folder / "scores.md").read_text()
    assert table in capsys.readouterr().out
    assert "mean of strata" in table
    assert "dtSSD without frame 0" in table
    assert "the net gives no foreground" in table


def test_an_official_checkpoint_is_read_with_the_options_of_the_command_line(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = ("model=modnet", "model.width=0.25", "model.hidden=8", f"checkpoint={files}/official.ckpt")
    options = ("downsample_ratio=0.5", "one_frame_delay=true", "quantise=truncate", "metrics=[mad,iou]")
    record, frames = evaluated(monkeypatch, tmp_path, *official, *options, f"testset={files}/set")
    assert "conn" not in frames
    config = yaml.safe_load((record.folder / "config.yaml").read_text())
    assert config["model"]["width"] == 0.25
    assert config["downsample_ratio"] == 0.5
    assert "disk8 (truncate)" in (record.folder / "scores.md").read_text()


@pytest.mark.slow
def test_options_change_the_figures_they_should_and_no_others(
    files: Path, whole: tuple[CellRecord, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mads(*options: str) -> Any:
        name = str(len(list(tmp_path.glob("*/*"))))
        return evaluated(monkeypatch, tmp_path, *our_mad(files), *options, name=name)[1]["mad"].to_numpy()

    first = (whole[1]["frame"] == 0).to_numpy()
    plain = whole[1]["mad"].to_numpy()
    assert np.allclose(mads("chunk=1"), plain, atol=1e-6)
    without = mads("recurrence=false")
    assert not np.array_equal(without, plain)
    assert np.allclose(without[first], plain[first], atol=1e-6)  # the first frame of a clip has no memory yet
    assert not np.array_equal(mads("prm=full"), mads("prm=off"))
    assert not np.array_equal(mads("size=[64,96]"), plain)


@pytest.mark.slow
def test_the_project_s_own_conditions_are_those_of_a_training_run(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path.parent / "cache"
    small = ("scale=smoke", "scale.test_clips=1", "scale.test_frames=2", "metrics=[mad]", f"data.cache_dir={cache}")
    record, frames = evaluated(monkeypatch, tmp_path, f"checkpoint={files}/run/model.pt", *small)
    assert frames["stratum"].nunique() == 8
    assert len(frames) == 8 * 2
    assert record.scale == "smoke"


@pytest.mark.slow
def test_a_set_by_the_published_protocol_is_composited_in_memory(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "streaming_cost", streaming_cost)
    net = (f"checkpoint={files}/run/model.pt", "metrics=[mad]", f"data.cache_dir={tmp_path.parent}/cache")
    protocol = ("testset=rvm", "protocol.clips=1", "protocol.frames=2", "size=[64,96]")
    record, frames = evaluated(monkeypatch, tmp_path, *net, *protocol)
    assert frames["stratum"].tolist() == ["static"] * 2 + ["motion"] * 2
    assert record.cost["frame"] == "64×96"


@pytest.fixture
def finished(whole: tuple[CellRecord, pd.DataFrame], tmp_path: Path) -> Path:
    """The folder of that evaluation, copied to where the next one called "it" looks for it."""
    return Path(shutil.copytree(whole[0].folder, tmp_path / "evaluate" / "it"))


def test_on_cuda_figures_are_those_of_exact_kernels_and_casts(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(evaluate, "StreamedNet", lambda net, **options: made.append((net, options)))
    net, device = build_net("modnet", **SMALL), torch.device("cuda")
    evaluate.score_clips(cast("Any", SimpleNamespace(clips=[], net=net, device=device)), [])
    assert made == [(net, {"exact": True})]


@pytest.mark.slow
def test_a_finished_evaluation_is_not_repeated_unless_it_is_told(
    files: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished / "metrics.parquet"
    written = file.stat().st_mtime_ns
    evaluated(monkeypatch, tmp_path, *our_mad(files))
    assert "skip" in capsys.readouterr().out
    assert file.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="other settings; give another name="):
        evaluated(monkeypatch, tmp_path, *our_mad(files), "quantise=round")
    evaluated(monkeypatch, tmp_path, *our_mad(files), "again=true")
    assert file.stat().st_mtime_ns > written


@pytest.mark.slow
def test_a_damaged_record_is_named_with_its_remedy(
    files: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finished / "record.json").write_text('{"half')
    with pytest.raises(ValueError, match=r"record\.json cannot be read .* with again=true"):
        evaluated(monkeypatch, tmp_path, *our_mad(files))
    assert evaluated(monkeypatch, tmp_path, *our_mad(files), "again=true")[0].status == "complete"


@pytest.mark.slow
def test_a_failed_clip_is_told_in_the_record_and_the_others_are_kept(
    files: Path,
    whole: tuple[CellRecord, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole_evaluate_clip = evaluate.evaluate_clip

    def breaks_on_one(net: Any, clip: Any, *options: Any, **more: Any) -> pd.DataFrame:
        if clip.key == "static/0001":
            raise ValueError("the file is broken")
        return whole_evaluate_clip(net, clip, *options, **more)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_clip", breaks_on_one)
        with pytest.raises(ValueError, match="the file is broken"):
            evaluated(monkeypatch, tmp_path, *our_mad(files))
    record = CellRecord.load(tmp_path / "evaluate" / "it")
    assert (record.status, record.error) == ("failed", "ValueError: the file is broken")
    parts = sorted((record.folder / "parts").iterdir())
    written = parts[0].read_bytes()
    parts[0].write_bytes(written[: len(written) // 2])
    left = len(LENGTHS) - len(parts) + 1
    capsys.readouterr()
    record, frames = evaluated(monkeypatch, tmp_path, *our_mad(files))
    told = capsys.readouterr().out
    assert f"damaged   {parts[0]} cannot be read" in told
    assert f"{left}/{left} clips" in told
    assert (record.status, record.error) == ("complete", "")
    pd.testing.assert_frame_equal(frames, whole[1], check_exact=True)


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_with_the_next_clip(
    files: Path, whole: tuple[CellRecord, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_evaluate_clip = evaluate.evaluate_clip
    scored: list[str] = []

    def killed_at_the_third(net: Any, clip: Any, *options: Any, **more: Any) -> pd.DataFrame:
        scored.append(clip.key)
        if len(scored) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole_evaluate_clip(net, clip, *options, **more)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_clip", killed_at_the_third)
        process = FORKED.Process(target=partial(run, patch, *our_mad(files), f"output_dir={tmp_path}", "name=it"))
        process.start()
        process.join(120)
    assert process.exitcode == -signal.SIGKILL
    folder = tmp_path / "evaluate" / "it"
    assert json.loads((folder / "record.json").read_text())["status"] == "running"
    assert sorted(path.name for path in (folder / "parts").iterdir()) == ["00000.parquet", "00001.parquet"]

    def counts(net: Any, clip: Any, *options: Any, **more: Any) -> pd.DataFrame:
        scored.append(clip.key)
        return whole_evaluate_clip(net, clip, *options, **more)

    monkeypatch.setattr(evaluate, "evaluate_clip", counts)
    _, frames = evaluated(monkeypatch, tmp_path, *our_mad(files))
    assert len(scored) == len(LENGTHS) - 2
    pd.testing.assert_frame_equal(frames, whole[1], check_exact=True)


@pytest.mark.slow
def test_two_processes_agree_with_one(
    files: Path, whole: tuple[CellRecord, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told of each other as `torchrun` tells it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)

    def work(rank: int) -> None:
        os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(rank)
        with (tmp_path / f"told{rank}").open("w") as sys.stdout:
            run(monkeypatch, *our_mad(files), f"output_dir={tmp_path}", "name=two")

    processes = [FORKED.Process(target=work, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert "3/3 clips of process 1 of 2" in (tmp_path / "told0").read_text()
    assert (tmp_path / "told1").read_text() == ""
    two = CellRecord.load(tmp_path / "evaluate" / "two")
    pd.testing.assert_frame_equal(two.read_frames(), whole[1], check_exact=True)
    assert two.metrics == whole[0].metrics
    assert two.config_hash == whole[0].config_hash


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model=modnet", "checkpoint=nowhere.pt"], "there is no checkpoint nowhere.pt"),
        (["checkpoint={}/official.ckpt"], "say which net it is: model=NAME"),
        (["model=modnet", "checkpoint={}/run/model.pt"], "holds a modnet_v, not a modnet"),
        (["model=modnet", "checkpoint={}/official.ckpt"], "of another shape"),
        (["checkpoint={}/run/model.pt", "model.hidden=16"], "does not fit this modnet_v with hidden=16"),
        (["model=modnet", "checkpoint={}/set/static/0000/com/0000.png"], "cannot be read as a checkpoint"),
        (["checkpoint={}/run/model.pt", "refiner=deep_guided_filter"], "has no option refiner"),
        (["checkpoint={}/run/model.pt", "prm=on"], "prm must be one of full, threshold, off"),
        (["checkpoint={}/run/model.pt", "model.prm=false", "prm=full"], "trained without patch refinement"),
        (["checkpoint={}/run/model.pt", "plate=last"], "plate must be one of first, true, none"),
        (["checkpoint={}/run/model.pt", "recurrence=0"], "recurrence must be true, false or a number"),
        (["checkpoint={}/run/model.pt", "metrics=[lpips]"], "there is no lpips"),
        (["checkpoint={}/run/model.pt", "metrics=mad"], "metrics must be a list"),
        (["checkpoint={}/run/model.pt", "size=wide"], "size must be a number of pixels"),
        (["checkpoint={}/run/model.pt", "threads=0"], "threads must be a number"),
        (["checkpoint={}/run/model.pt", "again=maybe"], "again must be true or false"),
        (["checkpoint={}/run/model.pt", "testset={}/run"], "no test set"),
        (["checkpoint={}/run/model.pt", "device=tpu"], "device must be"),
    ],
)
def test_bad_input_is_told_in_one_line(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], told: str
) -> None:
    given = [override.format(files) for override in overrides]
    testset = [] if any(override.startswith("testset=") for override in given) else [f"testset={files}/set"]
    with pytest.raises(ValueError, match=told) as caught:
        evaluated(monkeypatch, tmp_path, *given, *testset)
    assert "\n" not in str(caught.value)


def make_set(root: Path, alpha: int, *clips: str) -> Path:
    """A test set of grey frames whose true alpha is `alpha` everywhere."""
    for clip in clips or ("0000",):
        for layer, value in (("com", 90), ("pha", alpha)):
            (root / "s" / clip / layer).mkdir(parents=True, exist_ok=True)
            for t in range(2):
                Image.fromarray(np.full((64, 64), value, np.uint8)).save(root / "s" / clip / layer / f"{t:04d}.png")
    return root


@pytest.fixture
def scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[float, str, set[str]]]:
    """Scores an untrained net: its MAD as told, all that was printed, and the records that there are."""

    def score(testset: Path, *overrides: str) -> tuple[float, str, set[str]]:
        net = ("model=modnet", "model.width=0.25", "model.hidden=8", "metrics=[mad]", "threads=1")
        capsys.readouterr()
        run(monkeypatch, *net, f"testset={testset}", f"output_dir={tmp_path}/out", *overrides)
        out = capsys.readouterr().out
        told = re.search(r"\|\s+s \|\s+([\d.]+)", out)
        assert told is not None
        return float(told[1]), out, {path.name for path in (tmp_path / "out" / "evaluate").iterdir()}

    return score


Scored = Callable[..., tuple[float, str, set[str]]]


@pytest.mark.slow
def test_two_sets_of_one_folder_name_are_two_and_a_set_at_another_place_is_the_same(
    tmp_path: Path, scored: Scored
) -> None:
    dark, _, _ = scored(make_set(tmp_path / "first/test", 0))
    bright, out, there = scored(make_set(tmp_path / "second/test", 255))
    assert bright != dark
    assert "skip" not in out
    assert len(there) == 2
    shutil.copytree(tmp_path / "first/test", tmp_path / "third/test")
    again, out, there = scored(tmp_path / "third/test")
    assert again == dark
    assert "skip" in out
    assert len(there) == 2


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("name=it",)])
def test_a_corrected_set_is_scored_anew_and_the_old_scores_are_kept(
    tmp_path: Path, scored: Scored, options: tuple[str, ...]
) -> None:
    testset = make_set(tmp_path / "test", 0)
    wrong, _, _ = scored(testset, *options)
    make_set(testset, 128)
    right, out, _ = scored(testset, *options)
    expected, _, _ = scored(testset, "name=expected")
    assert right == expected != wrong
    assert ("was scored on other data: test set (4 files, 0.0 MB" in out) is bool(options)
    kept = [pd.read_parquet(file)["mad"].mean() * 1e3 for file in tmp_path.glob("out/evaluate/*/metrics.parquet")]
    assert sorted({round(value, 3) for value in kept}) == sorted({wrong, right})


@pytest.mark.slow
def test_an_edited_manifest_and_another_size_are_other_evaluations(tmp_path: Path, scored: Scored) -> None:
    testset = make_set(tmp_path / "test", 0)
    clip = {"stratum": "s", "folder": "0000", "foreground": "anna", "background": "room"}
    (testset / "manifest.json").write_text(json.dumps({"clips": [clip]}))
    counts = [len(scored(testset)[2])]
    (testset / "manifest.json").write_text(json.dumps({"clips": [clip], "testset": {"seed": 1}}))
    counts += [len(scored(testset, *size)[2]) for size in ((), ("size=32",), ())]
    assert counts == [1, 2, 3, 3]


@pytest.mark.slow
def test_what_was_scored_of_other_data_is_never_gone_on_with(
    tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data change in the midst, and are put back before the same command is given again."""
    testset = make_set(tmp_path / "test", 0, "0000", "0001", "0002")
    expected, _, _ = scored(testset, "name=undisturbed")
    whole_evaluate_clip = evaluate.evaluate_clip

    def changes_its_clip(net: Any, clip: Any, *options: Any, **more: Any) -> pd.DataFrame:
        if clip.key == "s/0001":
            make_set(testset, 255, "0001")
        return whole_evaluate_clip(net, clip, *options, **more)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_clip", changes_its_clip)
        with pytest.raises(ValueError, match=r"s/0001: data changed while they were scored: test set \(12 files, 0"):
            scored(testset, "name=it")
    folder = tmp_path / "out/evaluate/it"
    assert [path.name for path in (folder / "parts").iterdir()] == ["00000.parquet"]
    make_set(testset, 0, "0001")
    assert scored(testset, "name=it")[0] == expected


@pytest.mark.slow
def test_a_record_from_before_data_were_recorded_is_scored_anew(tmp_path: Path, scored: Scored) -> None:
    testset = make_set(tmp_path / "test", 0)
    scored(testset, "name=it")
    file = tmp_path / "out/evaluate/it/record.json"
    content = json.loads(file.read_text())
    del content["data"], content["checksum"]
    file.write_text(json.dumps(content))
    _, out, _ = scored(testset, "name=it")
    assert "was scored on other data: which ones was not recorded" in out
    assert "data" in json.loads(file.read_text())


@pytest.mark.slow
def test_another_checkpoint_of_the_same_name_is_another_evaluation(files: Path, tmp_path: Path, scored: Scored) -> None:
    testset, file = make_set(tmp_path / "test", 0), tmp_path / "net.pt"
    mads = []
    for seed in (1, 2):
        net = build_net("modnet", **SMALL)
        net.reset_parameters(seed)
        save_net(file, net, {"name": "modnet", **SMALL, "pretrained": False})
        mads.append(scored(testset, f"checkpoint={file}"))
    assert mads[0][0] != mads[1][0]
    assert len(mads[1][2]) == 2
