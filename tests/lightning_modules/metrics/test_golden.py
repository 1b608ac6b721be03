"""Every alpha and foreground metric against the published scripts, frame by frame."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.metrics import MAD, MSE, SAD, Conn, DtSSD, ForegroundMAD, ForegroundMSE, Grad
from lightning_modules.metrics.connectivity import conn, conn_undefined_in_matlab
from lightning_modules.metrics.frames import crop4, unit
from lightning_modules.metrics.scales import SCALES
from lightning_modules.metrics.scores import score_frames
from lightning_modules.metrics.temporal import dtssd

# Synthetic clips with the raw figures of each frame: CLIP/in/…, CLIP/official/SCRIPT[/REGION]/METRIC, and
# CLIP/reimpl/… from a float64 implementation. `e1_ties` has equal areas, on which the scripts disagree.
# MATTING_GOLDEN names another file of this form; further columns, with the papers' factors applied, are not read.
STORED = np.load(os.environ.get("MATTING_GOLDEN", Path(__file__).with_name("golden.npz")))
GOLDEN = {key: STORED[key] if "/in/" in key or STORED[key].ndim < 2 else STORED[key][:, 0] for key in STORED}
CLIPS = sorted({key.split("/")[0] for key in GOLDEN if "/in/" in key})
REGIONS = ("full", "unknown", "unknown_crop4")


def video(clip: str, name: str) -> Tensor:
    """(1, T, 1 or 3, H, W) as stored: uint8 or float32."""
    array = torch.from_numpy(GOLDEN[f"{clip}/in/{name}"])[None]
    return array[:, :, None] if array.ndim == 4 else array.permute(0, 1, 4, 2, 3)


def official(clip: str, source: str) -> dict[str, np.ndarray]:
    prefix = f"{clip}/{source}/"
    return {key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN if key.startswith(prefix)}


def agree(ours: np.ndarray, theirs: np.ndarray, scale: float) -> bool:
    return np.allclose(scale * ours, scale * theirs, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("as_codes", [True, False])
@pytest.mark.parametrize("source", ["official/rvm_lr", "official/rvm_hr", "reimpl/full"])
@pytest.mark.parametrize("clip", CLIPS)
def test_whole_frame_equals_rvm(clip: str, source: str, as_codes: bool) -> None:
    convert = (lambda x: x) if as_codes else unit
    coloured = f"{clip}/in/pred_fgr" in GOLDEN
    ours = score_frames(
        convert(video(clip, "pred_pha")),
        convert(video(clip, "true_pha")),
        foreground=convert(video(clip, "pred_fgr")) if coloured else None,
        true_foreground=convert(video(clip, "true_fgr")) if coloured else None,
    )
    if source == "official/rvm_hr":
        ours["grad"] = ours["grad_nonorm"]
    for metric, theirs in official(clip, source).items():
        name = metric.removeprefix("pha_")
        scale = SCALES["rvm"][name.removesuffix("_nonorm")]
        assert agree(ours[name][0].numpy(), theirs, scale), name


METRICS = {"pha_mad": MAD, "pha_mse": MSE, "pha_sad": SAD, "pha_grad": Grad, "pha_conn": Conn, "pha_dtssd": DtSSD,
           "fgr_mse": ForegroundMSE, "fgr_mad": ForegroundMAD}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("clip", CLIPS)
def test_without_options_a_class_gives_the_mean_of_rvms_frames(clip: str, name: str) -> None:
    key = f"{clip}/{'reimpl/full' if name == 'pha_sad' else 'official/rvm_lr'}/{name}"
    if key not in GOLDEN:
        assert name.startswith("fgr")
        return
    metric = METRICS[name]()
    if name.startswith("fgr"):
        metric.update(video(clip, "pred_fgr"), video(clip, "true_fgr"), video(clip, "true_pha"))
    else:
        metric.update(video(clip, "pred_pha"), video(clip, "true_pha"))
    scale = SCALES["rvm"][name.removeprefix("pha_")]
    assert float(metric.compute()) == pytest.approx(scale * np.nanmean(GOLDEN[key]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("paper", ["bgmv2", "cmn"])
@pytest.mark.parametrize("source", ["official/bgmv2", "reimpl"])
@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("clip", CLIPS)
def test_regions_equal_background_matting(clip: str, region: str, source: str, paper: str) -> None:
    pred, target, trimap = (video(clip, name) for name in ("pred_pha", "true_pha", "trimap"))
    if region == "full":
        trimap = torch.full_like(trimap, 128)
    if region == "unknown_crop4":
        pred, target, trimap = crop4(pred, target, trimap)
    ours = score_frames(pred, target, trimap=trimap)
    ours["conn"] = conn(pred, target, trimap, ties="column")
    theirs = official(clip, f"{source}/{'bgmv2_full' if (source, region) == ('reimpl', 'full') else region}")
    failed = theirs.pop("conn_failed", None)
    if failed is not None:
        assert np.array_equal(conn_undefined_in_matlab(pred, target)[0].numpy(), failed)
        ours["conn"][0, torch.from_numpy(failed)] = torch.nan
    for metric, values in theirs.items():
        name = metric.removeprefix("pha_")
        if not name.startswith(("fgr", "unknown_pixels")):  # foregrounds have a test of their own
            assert agree(ours[name][0].numpy(), values, SCALES[paper][name]), name


@pytest.mark.parametrize("region", REGIONS)
def test_foreground_equals_background_matting(region: str) -> None:
    clip = "s2_extreme_constants"
    names = ("pred_fgr", "true_fgr", "true_pha", "trimap")
    colour, true_colour, alpha, trimap = (video(clip, name) for name in names)
    if region == "full":
        trimap = torch.full_like(trimap, 128)
    if region == "unknown_crop4":
        colour, true_colour, alpha, trimap = crop4(colour, true_colour, alpha, trimap)
    metric = ForegroundMSE(convention="bgmv2", scale="bgmv2")
    metric.update(colour, true_colour, alpha, trimap)
    theirs = GOLDEN[f"{clip}/official/bgmv2/{region}/fgr_mse"]
    assert float(metric.compute()) == pytest.approx(1e3 * np.nanmean(theirs), rel=1e-5, abs=1e-6)


def test_ties_follow_the_published_scan_orders() -> None:
    pred, target = video("e1_ties", "pred_pha"), video("e1_ties", "true_pha")
    assert conn(pred, target)[0, 2] == pytest.approx(28.8, rel=1e-5)
    assert conn(pred, target, ties="column")[0, 2] == pytest.approx(19.2, rel=1e-5)


@pytest.mark.parametrize("clip", CLIPS)
def test_dtssd_without_the_first_zero(clip: str) -> None:
    ours = dtssd(video(clip, "pred_pha"), video(clip, "true_pha"), first_frame="skip")[0].numpy()
    assert np.isnan(ours[0])
    assert agree(ours[1:], GOLDEN[f"{clip}/official/rvm_lr/pha_dtssd"][1:], 1e2)
