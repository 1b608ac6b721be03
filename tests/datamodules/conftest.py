"""Small data made by code: cut-out discs, coloured walls, random layers."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.augment.codec import NO_H264, NO_JPEG
from datamodules.batch import Layers


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write RGB or RGBA or grey uint8 pixels (H, W[, C])."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[pixels.shape[2] if pixels.ndim == 3 else 2]
    assert cv2.imwrite(str(path), pixels if order is None else cv2.cvtColor(pixels, order))


def disc(size: int, x: float, y: float, radius: float) -> np.ndarray:
    """Soft-edged disc (size, size) in [0, 1]."""
    rows, columns = np.mgrid[:size, :size]
    return np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1)


@pytest.fixture(scope="session")
def images() -> Callable[[Path, np.ndarray], None]:
    return write_image


@pytest.fixture(scope="session")
def people_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten RGBA stills of 40 × 40 pixels."""
    folder = tmp_path_factory.mktemp("people")
    for k in range(10):
        alpha = disc(40, 20 + k % 3, 24, 10 + k % 4)
        colour = np.random.default_rng(k).integers(0, 256, (40, 40, 3))
        write_image(folder / f"person{k}.png", np.dstack([colour, 255 * alpha]).astype(np.uint8))
    return folder


@pytest.fixture(scope="session")
def rooms_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten stills of 48 × 60 pixels."""
    folder = tmp_path_factory.mktemp("rooms")
    for k in range(10):
        coarse = np.random.default_rng(100 + k).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        write_image(folder / f"room{k}.png", cv2.resize(coarse, (60, 48), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture
def make_layers() -> Callable[..., Layers]:
    """A batch of random layers whose affines are the identity, unless told otherwise."""

    def make(
        clips: int = 2, frames: int = 3, source: tuple[int, int] = (36, 40), seed: int = 0, **changes: object
    ) -> Layers:
        generator = torch.Generator().manual_seed(seed)

        def pixels(*shape: int) -> Tensor:
            return torch.randint(0, 256, (*shape, *source), generator=generator, dtype=torch.uint8)

        identity = torch.eye(2, 3).expand(clips, frames, 2, 3).clone()
        values: dict[str, object] = {
            "fgr": pixels(clips, frames, 3),
            "pha": pixels(clips, frames, 1),
            "bgr": pixels(clips, 1, 3),
            "bgr_index": torch.zeros(clips, frames, dtype=torch.long),
            "fgr_affine": identity,
            "bgr_affine": identity.clone(),
            "fgr_defocus": torch.zeros(clips),
            "bgr_defocus": torch.zeros(clips),
            "fgr_gain": torch.ones(clips, frames, 3),
            "bgr_gain": torch.ones(clips, frames, 3),
            "camouflage": torch.zeros(clips),
            "camouflage_shift": torch.zeros(clips, 2),
            "noise_std": torch.zeros(clips),
            "jpeg_quality": torch.full((clips,), NO_JPEG),
            "h264_crf": torch.full((clips,), NO_H264),
            "seed": torch.arange(clips),
            "clip": [f"clip{k}" for k in range(clips)],
            "scene": [f"scene{k}" for k in range(clips)],
            "stratum": [""] * clips,
        }
        return Layers(**{**values, **changes})  # type: ignore[arg-type]

    return make
