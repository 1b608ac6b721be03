"""The check before a long run: faults are named, a sound folder gives a contact sheet."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def check(*overrides: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "experiments.check_data",
        "scale=smoke",
        "scale.test_clips=1",
        "scale.val_clips=1",
        *overrides,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


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


def test_a_sound_folder_is_counted_and_drawn(tmp_path: Path) -> None:
    result = check(*write_data(tmp_path), f"sheet={tmp_path}/sheet.jpg")
    assert result.returncode == 0, result.stderr
    assert "train: " in result.stdout
    assert Image.open(tmp_path / "sheet.jpg").size[0] > 200


def test_every_unusable_file_is_named(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    for index in (3, 7):
        (tmp_path / f"people/person{index}.jpg").write_bytes(b"no picture")
    result = check(*data)
    assert result.returncode == 1
    assert "person3" in result.stderr
    assert "person7" in result.stderr
    assert "Traceback" not in result.stderr
