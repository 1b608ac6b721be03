"""MAD, MSE and dtSSD against the official scripts' values and against NumPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.metrics import MAD, MSE, DtSSD
from lightning_modules.metrics.error import mad, mse
from lightning_modules.metrics.temporal import dtssd

# Five synthetic clips and what RVM's published low-resolution script says of each frame, in display units.
GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
CLIPS = sorted({key.split("/")[0] for key in GOLDEN})
METRICS = {"pha_mad": (MAD, mad), "pha_mse": (MSE, mse), "pha_dtssd": (DtSSD, dtssd)}


def golden_alpha(clip: str, which: str) -> torch.Tensor:
    alpha = GOLDEN[f"{clip}/{which}"]
    if alpha.dtype == np.uint8:
        alpha = alpha.astype(np.float32) / np.float32(255)
    return torch.from_numpy(alpha)[None, :, None]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("clip", CLIPS)
def test_equals_the_official_script(clip: str, name: str) -> None:
    official = GOLDEN[f"{clip}/{name}"]
    pred, target = golden_alpha(clip, "pred_pha"), golden_alpha(clip, "true_pha")
    metric_class, function = METRICS[name]
    metric = metric_class()
    metric.update(pred, target)
    assert np.allclose(metric.scale * function(pred, target)[0], official, rtol=1e-5, atol=1e-6)
    assert float(metric.compute()) == pytest.approx(official.mean(), rel=1e-5, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), num_frames=st.integers(1, 4), height=st.integers(1, 9), width=st.integers(1, 9))
def test_equals_numpy_and_does_not_depend_on_batching(seed: int, num_frames: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    pred, target = rng.random((2, 3, num_frames, 1, height, width), dtype=np.float32)
    error = pred.astype(np.float64) - target
    change = np.diff(error, axis=1, prepend=error[:, :1])
    expected = {
        MAD: 1e3 * np.abs(error).mean(),
        MSE: 1e3 * (error**2).mean(),
        DtSSD: 1e2 * np.sqrt((change**2).mean(axis=(2, 3, 4))).mean(),
    }
    for metric_class, value in expected.items():
        whole, looped = metric_class(), metric_class()
        whole.update(torch.from_numpy(pred), torch.from_numpy(target))
        for one, two in zip(pred, target, strict=True):
            looped.update(torch.from_numpy(one[None]), torch.from_numpy(two[None]))
        assert float(whole.compute()) == pytest.approx(value, rel=1e-4, abs=1e-6)
        assert float(looped.compute()) == pytest.approx(float(whole.compute()), rel=1e-12)


def test_dtssd_counts_frame_0_as_zero_unless_skipped() -> None:
    pred, target = torch.rand(2, 5, 1, 6, 7), torch.rand(2, 5, 1, 6, 7)
    published, corrected = DtSSD(), DtSSD(first_frame="skip")
    published.update(pred, target)
    corrected.update(pred, target)
    assert float(published.compute()) == pytest.approx(float(corrected.compute()) * 4 / 5)


def test_dtssd_ignores_an_error_that_stays() -> None:
    target = torch.rand(1, 4, 1, 5, 5)
    assert dtssd(target + 0.3, target).max() < 1e-6


def test_trimap_limits_the_mean_to_unknown_pixels() -> None:
    pred, target = torch.zeros(1, 1, 1, 2, 2), torch.tensor([[1.0, 1.0], [0.0, 0.5]]).view(1, 1, 1, 2, 2)
    trimap = torch.tensor([[1.0, 0.5], [0.0, 0.5]]).view(1, 1, 1, 2, 2)
    assert float(mad(pred, target, trimap)) == pytest.approx(0.75)
    metric = MAD()
    metric.update(pred, target, trimap=trimap)
    metric.update(pred, target, trimap=torch.zeros_like(trimap))  # no unknown pixel: an undefined frame, left out
    assert float(metric.compute()) == pytest.approx(750)


@pytest.mark.parametrize("function", [mad, mse, dtssd])
def test_wrong_shapes_are_told(function: object) -> None:
    with pytest.raises(ValueError, match=r"\(B, T, 1, H, W\)"):
        function(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2, 1, 4, 5))  # type: ignore[operator]


def test_unknown_first_frame_rule_is_told() -> None:
    with pytest.raises(ValueError, match="first_frame"):
        DtSSD(first_frame="half")  # type: ignore[arg-type]
