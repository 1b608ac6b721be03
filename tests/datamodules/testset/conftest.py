"""A small world of videos (folders of frames) and stills, in files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.sources.backgrounds import FolderBackgrounds
from datamodules.sources.image_mattes import ImageMattes
from datamodules.sources.videomatte240k import VideoMattes
from datamodules.testset import CompositeTestSet

ALL = (0.0, 0.0, 1.0)  # everything is for the test


@pytest.fixture(scope="session")
def people_videos(tmp_path_factory: pytest.TempPathFactory, images: Callable[[Path, np.ndarray], None]) -> Path:
    """Two clips of 9 frames, 36 × 64 and 40 × 30 pixels (height × width)."""
    folder = tmp_path_factory.mktemp("people_videos")
    for name, (height, width) in {"anna": (36, 64), "boris": (40, 30)}.items():
        generator = np.random.default_rng(len(name))
        for t in range(9):
            alpha = np.zeros((height, width), np.uint8)
            alpha[10:, 5 + t : 20 + t] = generator.integers(100, 256, (height - 10, 15))
            images(folder / f"{name}_rgb" / f"{t:05d}.png", generator.integers(0, 256, (height, width, 3), np.uint8))
            images(folder / f"{name}_pha" / f"{t:05d}.png", alpha)
    return folder


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory, images: Callable[[Path, np.ndarray], None]) -> Path:
    """Three stills and two videos of 8 frames, of several sizes."""
    folder = tmp_path_factory.mktemp("places")
    generator = np.random.default_rng(5)
    for k in range(3):
        images(folder / f"still{k}.png", generator.integers(0, 256, (50, 70 + 10 * k, 3), np.uint8))
    for k in range(2):
        for t in range(8):
            images(folder / f"film{k}" / f"{t}.png", generator.integers(0, 256, (36, 64 - 8 * k, 3), np.uint8))
    return folder


@pytest.fixture
def video_set(people_videos: Path, places: Path) -> Callable[..., CompositeTestSet]:
    def make(**options: object) -> CompositeTestSet:
        return CompositeTestSet(
            VideoMattes(people_videos, "test", None, shares=ALL),
            FolderBackgrounds(places, "test", None, shares=ALL),
            **{"size": (18, 32), "num_clips": 4, "num_frames": 5, **options},  # type: ignore[arg-type]
        )

    return make


@pytest.fixture
def still_set(people_folder: Path, places: Path) -> Callable[..., CompositeTestSet]:
    def make(**options: object) -> CompositeTestSet:
        return CompositeTestSet(
            ImageMattes(people_folder, "test", None, shares=ALL),
            FolderBackgrounds(places, "test", None, shares=ALL),
            **{"size": (32, 32), "num_clips": 3, "num_frames": 5, **options},  # type: ignore[arg-type]
        )

    return make
