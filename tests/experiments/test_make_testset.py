"""The command that writes test sets, as a user calls it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.testset import FolderTestSet
from datamodules.testset.plans import ClipPlan
from datamodules.video import write_video
from experiments.make_testset import composite_test_set, main
from tests.experiments.in_process import run_here

Command = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ["testset.clips=2", "testset.frames=3", "testset.size=[32,48]"]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    places = (f"output={tmp_path}/set", f"output_dir={tmp_path}/out")
    return lambda *overrides: run_here(main, [*places, *overrides], monkeypatch, capsys)


@pytest.mark.slow
def test_it_writes_a_set_skips_what_is_there_and_refuses_another_one(make: Command, tmp_path: Path) -> None:
    result = make(*SMALL)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[:2] == [
        "static: 2 clips of 3 frames, 48×32",
        "motion: 2 clips of 3 frames, 48×32, a camera moves over stills",
    ]
    assert "4/4 clips" in result.stdout
    test_set = FolderTestSet(tmp_path / "set")
    assert [clip.key for clip in test_set] == ["static/0000", "static/0001", "motion/0000", "motion/0001"]
    assert {clip.name for clip in test_set} == {"person-test-0000", "person-test-0001"}
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    assert {"python", "torch"} <= manifest["versions"].keys()
    assert manifest["source"]["hair_fineness"] == 0.6
    assert str(tmp_path) not in json.dumps(manifest)

    # What the manifest says is enough to make the clips again.
    again = composite_test_set({key: manifest[key] for key in ("source", "backgrounds")}, manifest["testset"])
    assert again.plans == [ClipPlan.of(entry) for entry in manifest["clips"]]
    assert torch.equal(again[3].read(1, 3).frames, test_set[3].read(1, 3).frames)

    written = (tmp_path / "set/static/0000/com/0000.png").stat().st_mtime_ns
    assert make(*SMALL).returncode == 0
    assert (tmp_path / "set/static/0000/com/0000.png").stat().st_mtime_ns == written
    other = make(*SMALL, "testset.seed=1")
    assert other.returncode == 2
    assert other.stderr.count("\n") == 1
    assert "holds a test set with other testset, clips: choose another folder" in other.stderr


def test_it_makes_a_set_of_few_short_clips_and_pictures_of_places(make: Command, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "places").mkdir()
    (tmp_path / "people").mkdir()
    for k in range(6):
        Image.fromarray(draw.integers(0, 256, (60, 80, 3), np.uint8)).save(tmp_path / f"places/place{k}.jpg")
        for layer in ("rgb", "pha"):
            frames = torch.full((5 + k, 3, 48, 64), 200 if layer == "rgb" else 255, dtype=torch.uint8)
            write_video(tmp_path / f"people/person{k}_{layer}.mp4", frames, 25)
    own = ("data=video_mattes", f"data.root={tmp_path}/people", f"data.scenes={tmp_path}/places")
    result = make(*own, "testset.size=[32,48]")
    assert result.returncode == 0, result.stderr
    test_set = FolderTestSet(tmp_path / "set")
    (name,) = {clip.name for clip in test_set}
    length = 5 + int(name[-1])
    assert result.stdout.splitlines()[:3] == [
        f"static: 1 clips of {length} frames, 48×32",
        f"motion: 1 clips of {length} frames, 48×32, a camera moves over stills",
        f"not 100 frames, since {name} has no more",
    ]
    assert [(clip.key, clip.num_frames) for clip in test_set] == [("static/0000", length), ("motion/0000", length)]
    assert json.loads((tmp_path / "set/manifest.json").read_text())["testset"]["frames"] == length


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["testset.strata=[still]"], "still unknown; known are static, motion"),
        (["testset.size=32"], "testset.size must be [height, width]"),
        (["data=video_mattes", "data.root=/nowhere", "data.scenes=/nowhere"], "/nowhere: no such folder"),
    ],
)
def test_bad_input_ends_with_one_line(make: Command, overrides: list[str], message: str) -> None:
    result = make(*SMALL, *overrides)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
