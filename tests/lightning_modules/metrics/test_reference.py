"""Every metric against a slow, plain reference on random small clips."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from lightning_modules.metrics.connectivity import conn
from lightning_modules.metrics.foreground import foreground_errors
from lightning_modules.metrics.gradient import _gradient_sums, gradient_taps
from lightning_modules.metrics.scores import score_frames

Array = np.ndarray


def dense_gradient(frame: Array) -> Array:
    """Magnitude by one dense 9 × 9 filter an axis, in float64."""
    y, x = np.mgrid[-4:5, -4:5]
    gaussian = np.exp(-(x**2 + y**2) / (2 * 1.4**2))
    along_x, along_y = (kernel / np.sqrt((kernel**2).sum()) for kernel in (x * gaussian, y * gaussian))
    return np.hypot(*(ndimage.correlate(frame.astype(float), k, mode="nearest") for k in (along_x, along_y)))


def stretched(frame: Array) -> Array:
    extent = float(frame.max()) - float(frame.min())
    return (frame.astype(float) - frame.min()) / extent if extent > 0 else np.zeros(frame.shape)


def ten_labellings(codes_or_alpha: Array, column_ties: bool) -> Array:
    """Level of each pixel by labelling every threshold."""
    if column_ties:
        return ten_labellings(codes_or_alpha.T, False).T
    level = np.full(codes_or_alpha.shape, -1)
    for i in range(1, 11):
        if codes_or_alpha.dtype == np.uint8:
            above = 10 * codes_or_alpha.astype(int) >= 255 * i
        else:
            above = codes_or_alpha >= np.float32(i / 10)
        labels, count = ndimage.label(above)  # numbered in the order of their first pixels, 4-connected
        body = labels == 1 + np.argmax(np.bincount(labels.ravel(), minlength=2)[1:]) if count else labels > 0
        level[(level < 0) & ~body] = i - 1
    return np.where(level < 0, 10, level)


def unconnected(alpha: Array, level: Array) -> Array:
    if alpha.dtype == np.uint8:
        far = 10 * alpha.astype(int) >= 382.5 + 255 * level
        return np.where(far, alpha / 255 - level / 10, 0)
    distance = alpha - level.astype(np.float32) / np.float32(10)
    return np.where(distance >= np.float32(0.15), distance, 0)


def references(pred: Array, target: Array, mask: Array) -> dict[str, Array]:
    """Figures of (T, H, W) frames over a mask of the same shape."""
    p, q = (x.astype(float) / (255 if x.dtype == np.uint8 else 1) for x in (pred, target))
    rows: dict[str, list[float]] = {name: [] for name in ("mad", "mse", "sad", "grad", "grad_nonorm", "conn", "dtssd")}
    for t, inside in enumerate(mask):
        error = (p[t] - q[t])[inside]
        change = (p[t] - p[t - 1] - q[t] + q[t - 1])[inside] if t else error * 0
        level = ten_labellings(np.minimum(pred[t], target[t]), False)
        mean = (lambda x: x.mean()) if inside.any() else (lambda x: np.nan)
        rows["mad"].append(mean(np.abs(error)))
        rows["mse"].append(mean(error**2))
        rows["sad"].append(np.abs(error).sum())
        rows["dtssd"].append(np.sqrt(mean(change**2)))
        plain = dense_gradient(p[t]) - dense_gradient(q[t])
        rows["grad_nonorm"].append((plain[inside] ** 2).sum())
        rows["grad"].append(((dense_gradient(stretched(p[t])) - dense_gradient(stretched(q[t])))[inside] ** 2).sum())
        rows["conn"].append(np.abs(unconnected(pred[t], level) - unconnected(target[t], level))[inside].sum())
    return {name: np.array(values) for name, values in rows.items()}


def draw(seed: int, num_frames: int, height: int, width: int, kind: str) -> tuple[Array, Array, Array]:
    """Prediction, truth and mask: fine noise, few levels with many ties, or constant frames."""
    rng = np.random.default_rng(seed)
    shape = (2, num_frames, height, width)
    if kind == "constant":
        alphas = np.broadcast_to(rng.integers(0, 256, (2, num_frames, 1, 1)), shape).astype(np.uint8)
    elif kind == "levels":
        alphas = (rng.integers(0, 11, shape) / 10).astype(np.float32)
        alphas[1] = np.where(rng.random(shape[1:]) < 0.7, alphas[0], alphas[1])
    elif kind == "codes":
        alphas = rng.choice([0, 26, 51, 102, 153, 179, 204, 254, 255], shape).astype(np.uint8)
    else:
        alphas = rng.random(shape, dtype=np.float32)
    return alphas[0], alphas[1], rng.random(shape[1:]) < rng.choice([0, 0.5, 1])


def as_video(array: Array) -> Tensor:
    return torch.from_numpy(array.copy())[None, :, None]


clips = given(
    seed=st.integers(0, 10**6),
    num_frames=st.integers(1, 3),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    kind=st.sampled_from(["noise", "levels", "codes", "constant"]),
)


@settings(max_examples=80)
@clips
def test_alpha_metrics_equal_the_reference(seed: int, num_frames: int, height: int, width: int, kind: str) -> None:
    pred, target, mask = draw(seed, num_frames, height, width, kind)
    for region, trimap in ((np.ones_like(mask), None), (mask, as_video(np.where(mask, 128, 255).astype(np.uint8)))):
        ours = score_frames(as_video(pred), as_video(target), trimap=trimap)
        for name, expected in references(pred, target, region).items():
            near = 2e-4 if name.startswith("grad") else 2e-5  # float32 before two magnitudes are subtracted and squared
            np.testing.assert_allclose(ours[name][0], expected, rtol=near, atol=1e-5, err_msg=name)


@settings(max_examples=60)
@clips
def test_conn_breaks_ties_by_columns(seed: int, num_frames: int, height: int, width: int, kind: str) -> None:
    pred, target, _ = draw(seed, num_frames, height, width, kind)
    ours = conn(as_video(pred), as_video(target), ties="column")[0]
    for t in range(num_frames):
        level = ten_labellings(np.minimum(pred[t], target[t]), True)
        expected = np.abs(unconnected(pred[t], level) - unconnected(target[t], level)).sum()
        assert float(ours[t]) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@settings(max_examples=30)
@clips
def test_convolutions_give_the_sums_of_the_compiled_gradient(
    seed: int, num_frames: int, height: int, width: int, kind: str
) -> None:
    """What runs on a GPU, here on the CPU."""
    pred, target, mask = draw(seed, num_frames, height, width, kind)
    videos = [as_video(x).float() / (255 if x.dtype == np.uint8 else 1) for x in (pred, target)]
    region = as_video(mask)
    sums = _gradient_sums(*videos, region, torch.from_numpy(gradient_taps()))
    ours = score_frames(*videos, trimap=region, metrics=("grad_nonorm", "grad"))
    for i, name in enumerate(ours):
        np.testing.assert_allclose(sums[:, i], ours[name][0], rtol=2e-5, atol=1e-5)


def plain_foreground(pred: Array, target: Array, visible: Array, count: int, power: int) -> float:
    error = np.abs(pred.astype(float) - target)[:, visible] ** power
    return error.sum() / (3 * count) if count else np.nan


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 9), width=st.integers(1, 9), channels_last=st.booleans())
def test_foreground_errors_equal_the_reference(seed: int, height: int, width: int, channels_last: bool) -> None:
    rng = np.random.default_rng(seed)
    pred, target = rng.random((2, 2, 3, height, width), dtype=np.float32)
    alpha = rng.random((2, height, width)) * (rng.random((2, height, width)) < rng.choice([0, 0.5]))
    mask = rng.random((2, height, width)) < 0.5
    colours = [torch.from_numpy(x)[None] for x in (pred, target)]
    if channels_last:
        colours = [x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3) for x in colours]
    for convention in ("rvm", "bgmv2"):
        for region in (None, mask):
            trimap = None if region is None else as_video(region)
            ours = foreground_errors(*colours, as_video(alpha), trimap, convention)
            for t in range(2):
                inside = np.ones((height, width), bool) if region is None else region[t]
                visible = inside & (alpha[t] > 0)
                count = int(visible.sum() if convention == "rvm" else inside.sum())
                for name, power in (("fgr_mad", 1), ("fgr_mse", 2)):
                    expected = plain_foreground(pred[t], target[t], visible, count, power)
                    np.testing.assert_allclose(ours[name][0, t], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("picture", "squares"),
    [("slope", (9.68383 / 30) ** 2 * 31), ("dot", 2.0)],
)
def test_gradient_has_the_published_gain(picture: str, squares: float) -> None:
    frame = torch.zeros(1, 1, 1, 31, 31)
    if picture == "slope":  # a thirtieth per pixel, without a bend inside the filter's reach of the middle column
        frame = (torch.arange(31.0) / 30).view(1, 1, 1, 1, 31).expand(1, 1, 1, 31, 31)
        trimap = torch.zeros(1, 1, 1, 31, 31, dtype=torch.bool)
        trimap[..., 15] = True
        ours = score_frames(frame, torch.zeros_like(frame), trimap=trimap, metrics=("grad_nonorm",))
    else:
        frame[..., 15, 15] = 1
        ours = score_frames(frame, torch.zeros_like(frame), metrics=("grad_nonorm",))
    assert float(ours["grad_nonorm"]) == pytest.approx(squares, rel=1e-5)


Change = Callable[[Tensor], Tensor]
INVARIANCES: dict[str, tuple[Change, set[str]]] = {
    "flipped sideways": (lambda x: x.flip(-1), set()),
    "flipped upside down": (lambda x: x.flip(-2), set()),
    "transposed": (lambda x: x.transpose(-1, -2), set()),
    "in reverse": (lambda x: x.flip(1), {"dtssd"}),  # its frames then follow another one
}


@pytest.mark.parametrize("name", INVARIANCES)
def test_metrics_do_not_depend_on_the_side_one_looks_from(name: str) -> None:
    change, excepted = INVARIANCES[name]
    pred, target = torch.rand(2, 2, 3, 1, 21, 33, generator=torch.Generator().manual_seed(0))
    straight, turned = score_frames(pred, target), score_frames(change(pred), change(target))
    for metric in straight.keys() - excepted:
        torch.testing.assert_close(straight[metric].sum(), turned[metric].sum(), rtol=1e-6, atol=1e-9)


def test_metrics_are_symmetric_and_zero_at_equality() -> None:
    pred, target = torch.rand(2, 2, 3, 1, 21, 33, generator=torch.Generator().manual_seed(0))
    forth, back, same = score_frames(pred, target), score_frames(target, pred), score_frames(pred, pred.clone())
    for metric in ("mad", "mse", "sad", "grad", "grad_nonorm", "conn", "dtssd", "iou"):
        values = forth[metric]
        torch.testing.assert_close(values, back[metric], rtol=1e-6, atol=1e-9)
        assert torch.equal(same[metric], torch.full_like(values, metric == "iou"))


def test_only_the_stretched_gradient_ignores_contrast() -> None:
    pred, target = torch.rand(2, 1, 2, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    full, faded = score_frames(pred, target), score_frames(0.3 * pred + 0.2, target)
    torch.testing.assert_close(full["grad"], faded["grad"], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(full["grad_nonorm"], faded["grad_nonorm"], rtol=1e-2)


def test_a_batch_gives_what_its_clips_give_one_by_one_by_any_number_of_threads() -> None:
    pred, target = torch.rand(2, 3, 5, 1, 19, 23, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        whole = score_frames(pred, target)
        torch.set_num_threads(1)
        looped = [score_frames(p[None], q[None]) for p, q in zip(pred, target, strict=True)]
    finally:
        torch.set_num_threads(threads)
    for name, values in whole.items():
        assert torch.equal(values, torch.cat([one[name] for one in looped])), name


def test_gradients_of_training_do_not_reach_a_metric() -> None:
    pred: Any = torch.rand(1, 1, 1, 8, 8, requires_grad=True)
    assert not any(values.requires_grad for values in score_frames(pred, pred * 0.5).values())
