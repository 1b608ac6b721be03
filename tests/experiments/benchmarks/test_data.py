"""Every source beside RVM's training data, which a test stands in for."""

import sys
from pathlib import Path

import pytest

from experiments.benchmarks.data import SOURCES, THEIRS, benchmark_data

VIDEOMATTE = """
from pathlib import Path

class VideoMatteTrainAugmentation:
    def __init__(self, side):
        self.side = side

class VideoMatteDataset:
    def __init__(self, videomatte_dir, background_image_dir, background_video_dir, size, seq_length, seq_sampler,
                 transform):
        fgr, pha = (sorted((Path(videomatte_dir) / layer).glob("*/*.jpg")) for layer in ("fgr", "pha"))
        assert len(fgr) == len(pha) == 4 * 20
        assert len(list(Path(background_image_dir).glob("*.jpg"))) == 4
        assert len(list(Path(background_video_dir).glob("*/*.jpg"))) == 4 * 20
        assert (size, transform.side, seq_length) == (32, 32, 2)

    def __len__(self):
        return 4

    def __getitem__(self, number):
        return number
"""


@pytest.fixture(autouse=True)
def no_clone_is_imported_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "dataset"]:
        monkeypatch.delitem(sys.modules, name)


def measured(folder: Path, code: Path | None) -> list[dict[str, float]]:
    parts: list[str] = []
    table = benchmark_data(folder / "files", 2, (48, 64), 32, 0.01, code, parts.append)
    assert parts == ["painted clips", "timing", "done"]
    return table.to_dict("records")  # type: ignore[return-value]


@pytest.mark.slow
def test_every_source_yields_samples_and_is_compared(tmp_path: Path) -> None:
    package = tmp_path / "clone" / "dataset"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "videomatte.py").write_text(VIDEOMATTE)
    (package / "augmentation.py").write_text("class TrainFrameSampler: pass")
    rows = measured(tmp_path, tmp_path / "clone")
    assert [row["source"] for row in rows] == [*SOURCES, THEIRS]
    assert all(row["fps"] > 0 for row in rows)
    assert all(row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in rows[:-1])


def test_another_folder_is_no_clone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a clone of RobustVideoMatting"):
        measured(tmp_path, tmp_path)


def test_a_missing_package_of_theirs_is_told(tmp_path: Path) -> None:
    package = tmp_path / "other" / "dataset"
    package.mkdir(parents=True)
    (package / "videomatte.py").write_text("import easing_functions_that_nobody_has")
    with pytest.raises(ValueError, match="missing: pip install easing-functions-that-nobody-has"):
        measured(tmp_path, tmp_path / "other")
