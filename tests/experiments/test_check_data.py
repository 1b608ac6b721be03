"""The check before a long run: faults are named, a sound folder gives a contact sheet."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.video_matting import VideoMattingDataModule
from experiments.check_data import find_faults, leak, main
from tests.experiments.in_process import run_here

Check = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("scale=smoke", "scale.test_clips=1", "scale.val_clips=1")


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    return lambda *overrides: run_here(main, [*SMALL, *overrides], monkeypatch, capsys)


def write_data(folder: Path) -> list[str]:
    for sub in ("people", "places"):
        (folder / sub).mkdir()
    rng = np.random.default_rng(0)
    for index in range(12):
        picture = rng.integers(0, 255, (70, 80, 3), dtype=np.uint8)
        alpha = np.zeros((70, 80), np.uint8)
        alpha[20:60, 20:60] = 255
        Image.fromarray(picture).save(folder / f"people/person{index}.jpg")
        Image.fromarray(alpha).save(folder / f"people/person{index}_pha.png")
        Image.fromarray(picture[::-1].copy()).save(folder / f"places/place{index}.png")
    return ["data=image_mattes", f"data.root={folder}/people", f"data.scenes={folder}/places"]


def test_a_sound_folder_is_counted_and_drawn(check: Check, tmp_path: Path) -> None:
    result = check(*write_data(tmp_path), f"sheet={tmp_path}/sheet.jpg")
    assert result.returncode == 0, result.stderr
    assert "train: " in result.stdout
    assert result.stdout.count(": 80×70") == 24
    conditions = [line for line in result.stdout.splitlines() if line.startswith("test condition ")]
    assert len(conditions) == 8
    assert all(
        "pixels of a scene in one of the frame; of what the person hides, shown before: " in c for c in conditions
    )
    assert "warning: names that differ only in a number" in result.stderr
    assert Image.open(tmp_path / "sheet.jpg").size[0] > 200


def test_audit_shows_the_data_and_real_mattes_side_by_side(check: Check, tmp_path: Path) -> None:
    beside = (f"beside=[{tmp_path}/people]", f"beside_scenes={tmp_path}/places", "audit_clips=4")
    data = write_data(tmp_path)
    for index in range(12):  # names that are of different people
        for ending in (".jpg", "_pha.png"):
            file = tmp_path / f"people/person{index}{ending}"
            file.rename(tmp_path / f"people/{'abcdefghijkl'[index]}{ending}")
    result = check("audit", *data, *beside)
    assert result.returncode == 0, result.stderr
    head, _, *rows = result.stdout.strip().splitlines()
    assert [cell.split(" (")[0].strip() for cell in head.split("|")[2:5]] == [
        "people", "beside, composited", "beside, as filmed"
    ]  # fmt: skip
    assert [row.split("|")[1].strip().split(",")[0] for row in rows] == [
        "sharpness", "position", "colour", "noise", "motion", "soft pixels"
    ]  # fmt: skip
    # Person and surroundings are of one noise, always in the middle; photos do not move.
    sharpness, position, *_, motion, _ = ([cell.strip() for cell in row.split("|")] for row in rows)
    assert float(sharpness[4][:4]) == pytest.approx(0.5, abs=0.05)
    assert float(position[4][:4]) > 0.9
    assert motion[4] == "–"


@pytest.mark.slow
def test_no_trivial_cue_tells_who_is_a_person_made_by_code(check: Check, tmp_path: Path) -> None:
    result = check("audit", "audit_clips=16", "scale.train_clips=16", f"data.cache_dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    rows = (line.split("|") for line in result.stdout.splitlines()[2:])
    told = {row[1].strip(): float(row[2].split("(")[0].strip(" %")) for row in rows}
    assert all(0.4 < told[cue] < 0.6 for cue in ("sharpness", "noise"))
    assert all(told[cue] < 0.8 for cue in ("position", "colour", "motion"))  # 0.84 when heads stood in the middle


def test_every_unusable_file_is_named(check: Check, tmp_path: Path) -> None:
    data = write_data(tmp_path)
    for index in (3, 7):
        (tmp_path / f"people/person{index}.jpg").write_bytes(b"no picture")
    result = check(*data)
    assert result.returncode == 1
    assert "person3" in result.stderr
    assert "person7" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_offered_expression_keeps_people_together_as_it_is_written(check: Check, tmp_path: Path) -> None:
    data = write_data(tmp_path)
    for index in range(12):
        for ending in (".jpg", "_pha.png"):
            file = tmp_path / f"people/person{index}{ending}"
            file.rename(tmp_path / f"people/{'abcd'[index // 3]}_{index:02d}{ending}")
    warning = check(*data, f"sheet={tmp_path}/sheet.jpg").stderr
    (setting,) = shlex.split(warning[warning.index("'data.person") :])
    result = check(*data, setting, f"sheet={tmp_path}/sheet.jpg")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["data=video_mattes"], "data.root and data.scenes must be given: add data.root=… data.scenes=…"),
        (["data=video_mattes", "data.root=."], "data.scenes must be given: add data.scenes=…"),
    ],
)
def test_a_missing_folder_is_told_with_the_setting(check: Check, overrides: list[str], told: str) -> None:
    result = check(*overrides)
    assert result.returncode == 2
    assert result.stderr == f"error: {told} to the command (see --help, README)\n"


def write_clips(folder: Path) -> None:
    """Three clips of four frames as folders, and three places."""
    for name in ("a.1", "a.2", "b"):
        for kind in ("rgb", "pha"):
            (folder / f"people/{name}_{kind}").mkdir(parents=True)
        for t in range(8, 12):
            alpha = np.zeros((40, 60), np.uint8)
            alpha[10:, 10 + t : 30 + t] = 255
            colours = np.random.default_rng(t).integers(0, 256, (40, 60, 3), np.uint8)
            Image.fromarray(colours).save(folder / f"people/{name}_rgb/{t}.png")
            Image.fromarray(alpha).save(folder / f"people/{name}_pha/{t}.png")
    (folder / "places").mkdir()
    for name in "xyz":
        Image.new("RGB", (60, 40)).save(folder / f"places/{name}.png")


def faults_of(folder: Path) -> list[str]:
    source = {"name": "video_mattes", "root": folder / "people"}
    backgrounds = {"name": "folder", "root": folder / "places"}
    return find_faults(VideoMattingDataModule(source, backgrounds, size=24, clip_length=2), 100)


def change(file: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        for path in folder.glob(file):
            Image.fromarray(change(np.array(Image.open(path)))).save(path)

    return harm


def cut(folder: Path) -> None:
    file = folder / "people/b_rgb/10.png"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lose(folder: Path) -> None:
    (folder / "people/b_pha/10.png").rename(folder / "people/b_pha/12.png")


def repeat(folder: Path) -> None:
    (folder / "people/b_pha/0010.png").write_bytes((folder / "people/b_pha/10.png").read_bytes())


def spoil_a_place(folder: Path) -> None:
    (folder / "places/y.png").write_bytes(b"nothing")


def test_sound_clips_are_listed_with_sizes_and_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clips(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "b_rgb/._8.png", "b_pha/.DS_Store"):
        (tmp_path / "people" / name).touch()
    (tmp_path / "people/__MACOSX").mkdir()
    assert faults_of(tmp_path) == []
    told = capsys.readouterr().out
    assert all(f"  {name}: 60×40, 4 frames" in told for name in ("a.1", "a.2", "b"))
    assert all(f"  places/{name}: 60×40" in told for name in "xyz")


@pytest.mark.parametrize(
    ("harm", "clip", "reason"),
    [
        (cut, "b", r"b_rgb/10\.png: .*replace or remove"),
        (lose, "b", r"b_rgb/10\.png: no frame for it"),
        (repeat, "b", r"10\.png and .*0010\.png have one frame|0010\.png and .*10\.png have one frame"),
        (change("people/b_rgb/9.png", lambda pixels: pixels[:30]), "b", r"b_rgb/9\.png: 60×30 pixels"),
        (change("people/b_pha/*.png", lambda pixels: pixels[:30]), "b", r"60×30 pixels, b_rgb has 60×40"),
        (change("people/b_pha/*.png", lambda pixels: pixels // 255), "b", "nothing exceeds 1 of 255"),
        (change("people/b_pha/*.png", lambda pixels: 255 - pixels), "b", "inverted"),
        (change("people/b_pha/*.png", lambda pixels: 0 * pixels), "b", "nobody is in it"),
        (change("people/b_pha/9.png", lambda pixels: np.dstack([pixels, 0 * pixels, 0 * pixels])), "b", "has colours"),
        (spoil_a_place, "places/y", r"y\.png: not a picture"),
    ],
)
def test_each_fault_is_told_with_its_clip_and_reason(
    tmp_path: Path, harm: Callable[[Path], None], clip: str, reason: str
) -> None:
    write_clips(tmp_path)
    harm(tmp_path)
    (fault,) = faults_of(tmp_path)
    assert re.match(rf"{clip}: .*({reason})", fault), fault
    assert "\n" not in fault


def test_people_who_would_be_too_few_together_are_told(tmp_path: Path) -> None:
    write_clips(tmp_path)
    for kind in ("rgb", "pha"):
        (tmp_path / f"people/b_{kind}").rename(tmp_path / f"people/a.3_{kind}")
    source = {"name": "video_mattes", "root": tmp_path / "people"}
    told = leak(VideoMattingDataModule(source, {"name": "folder", "root": tmp_path / "places"}, size=24, clip_length=2))
    assert "a.* (train 1, val 1, test 1)" in told
    assert "only 1 would be left for 3 parts" in told
