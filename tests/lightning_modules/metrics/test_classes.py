"""What all classes share: options, states, chunks, processes, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_modules.metrics import (
    MAD,
    MSE,
    SAD,
    BackgroundPSNR,
    Conn,
    DtSSD,
    EndPointError,
    ForegroundMAD,
    ForegroundMSE,
    Grad,
    IoU,
)
from lightning_modules.metrics.background import background_psnr, flat_background_psnr
from lightning_modules.metrics.frames import quantise
from lightning_modules.metrics.overlap import iou
from lightning_modules.metrics.scores import score_frames
from lightning_modules.metrics.table import METRICS
from lightning_modules.metrics.temporal import dtssd
from tests.lightning_modules.processes import in_two_processes

ALPHA_METRICS: dict[str, tuple[type[Metric], dict[str, Any]]] = {
    "MAD": (MAD, {}),
    "MSE": (MSE, {}),
    "SAD": (SAD, {}),
    "Grad": (Grad, {}),
    "Grad, not stretched": (Grad, {"normalise": False}),
    "Conn": (Conn, {}),
    "DtSSD": (DtSSD, {}),
    "DtSSD, first frame skipped": (DtSSD, {"first_frame": "skip"}),
    "IoU": (IoU, {}),
}


def make_metrics() -> dict[str, Any]:
    return {name: metric(**options) for name, (metric, options) in ALPHA_METRICS.items()}


def make_clip(number: int, num_frames: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    pred, target = torch.rand(2, 1, num_frames, 1, 15, 22, generator=generator)
    return pred, target


def score(numbers: list[int]) -> dict[str, Any]:
    metrics = make_metrics()
    for number in numbers:
        for metric in metrics.values():
            metric.update(*make_clip(number, num_frames=1 + number % 3))
    return metrics


def share(rank: int) -> dict[str, float]:
    figures = {name: float(metric.compute()) for name, metric in score(list(range(7))[rank::2]).items()}
    none_here = MAD()  # a process may well have had no clip at all
    if rank == 0:
        none_here.update(*make_clip(0))
    return figures | {"alone": float(none_here.compute())}


def test_two_processes_give_exactly_the_figures_of_one(tmp_path: Path) -> None:
    expected = {name: float(metric.compute()) for name, metric in score(list(range(7))).items()}
    alone = MAD()
    alone.update(*make_clip(0))
    expected["alone"] = float(alone.compute())
    assert in_two_processes(share, tmp_path) == [expected, expected]


def test_the_order_of_clips_does_not_show() -> None:
    forth, back = score(list(range(9))), score(list(reversed(range(9))))
    assert {k: float(m.compute()) for k, m in forth.items()} == {k: float(m.compute()) for k, m in back.items()}


@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize("name", ALPHA_METRICS)
def test_chunks_give_what_the_whole_clip_gives(name: str, chunk: int) -> None:
    pred, target = make_clip(3, num_frames=7)
    metric_class, options = ALPHA_METRICS[name]
    whole, chunked = metric_class(**options), metric_class(**options)
    whole.update(pred, target)
    for begin in range(0, 7, chunk):
        part = slice(begin, begin + chunk)
        more = {"new_clip": begin == 0} if metric_class is DtSSD else {}
        chunked.update(pred[:, part], target[:, part], **more)
    assert float(chunked.compute()) == float(whole.compute())


def test_chunks_of_several_clips_begin_when_they_like() -> None:
    (a, true_a), (b, true_b) = make_clip(1, 4), make_clip(2, 4)
    metric, expected = DtSSD(), DtSSD()
    metric.update(torch.cat((a[:, :2], b[:, :2])), torch.cat((true_a[:, :2], true_b[:, :2])))
    ends_a, starts_b = (a[:, 2:], b[:, 2:]), (true_a[:, 2:], true_b[:, 2:])
    metric.update(torch.cat(ends_a), torch.cat(starts_b), new_clip=torch.tensor([False, True]))
    expected.update(a, true_a)
    expected.update(b[:, :2], true_b[:, :2])
    expected.update(b[:, 2:], true_b[:, 2:])
    assert float(metric.compute()) == float(expected.compute())


def test_previous_frames_carry_dtssd_over_a_cut_in_the_stream() -> None:
    pred, target = make_clip(5, 6)
    trimap = torch.rand(pred.shape, generator=torch.Generator().manual_seed(9)).round() / 2
    joined = torch.cat(
        (
            dtssd(pred[:, :4], target[:, :4], trimap[:, :4]),
            dtssd(pred[:, 4:], target[:, 4:], trimap[:, 4:], previous=(pred[:, 3:4], target[:, 3:4])),
        ),
        dim=1,
    )
    assert torch.equal(joined, dtssd(pred, target, trimap))
    with pytest.raises(ValueError, match="previous"):
        dtssd(pred, target, previous=(pred, target))


def test_dtssd_ignores_an_error_that_stays() -> None:
    target = 0.7 * make_clip(0)[1]
    assert dtssd(target + 0.3, target).max() < 1e-6


def test_a_metric_forgets_when_it_is_reset() -> None:
    metric = DtSSD()
    metric.update(*make_clip(0))
    metric.reset()
    assert torch.isnan(metric.compute())
    with pytest.raises(ValueError, match="new_clip"):
        metric.update(*make_clip(0), new_clip=False)


def test_a_collection_does_not_merge_metrics_that_agree_on_the_first_batch() -> None:
    metrics = MetricCollection(make_metrics())
    binary = torch.zeros(1, 2, 1, 12, 12)
    metrics.update(binary, binary)  # all but IoU are 0
    pred, target = make_clip(0)
    metrics.update(pred, target)
    for name, metric in make_metrics().items():
        metric.update(binary, binary)
        metric.update(pred, target)
        assert float(metrics.compute()[name]) == pytest.approx(float(metric.compute()), nan_ok=True), name


@pytest.mark.parametrize("name", ["MAD", "MSE", "DtSSD"])
def test_a_region_without_pixels_leaves_a_mean_undefined(name: str) -> None:
    metric = ALPHA_METRICS[name][0]()
    pred, target = make_clip(0)
    for nothing in (torch.zeros_like(pred), torch.ones_like(pred), torch.full_like(pred, 255).byte()):
        metric.update(pred, target, trimap=nothing)
        assert torch.isnan(metric.compute())


@pytest.mark.parametrize("name", ["SAD", "Grad", "Conn"])
def test_a_sum_over_no_pixels_is_zero_as_published(name: str) -> None:
    metric = ALPHA_METRICS[name][0]()
    pred, target = make_clip(0)
    metric.update(pred, target, trimap=torch.zeros_like(pred))
    assert float(metric.compute()) == 0


@pytest.mark.parametrize("name", ALPHA_METRICS)
def test_all_unknown_is_the_whole_frame(name: str) -> None:
    metric_class, options = ALPHA_METRICS[name]
    pred, target = make_clip(0)
    whole = metric_class(**options)
    whole.update(pred, target)
    for everything in (torch.full_like(pred, 0.5), torch.full_like(pred, 128).byte(), torch.ones_like(pred).bool()):
        region = metric_class(**options)
        region.update(pred, target, trimap=everything)
        assert float(region.compute()) == pytest.approx(float(whole.compute()), rel=1e-7)


@pytest.mark.parametrize("rounding", ["round", "truncate"])
@pytest.mark.parametrize("name", ALPHA_METRICS)
def test_quantised_scoring_is_that_of_the_stored_codes(name: str, rounding: Any) -> None:
    metric_class, options = ALPHA_METRICS[name]
    pred, target = make_clip(0)
    stored, asked = metric_class(**options), metric_class(quantise=rounding, **options)
    stored.update(quantise(pred, rounding), quantise(target))
    asked.update(pred, target)
    assert float(asked.compute()) == float(stored.compute())


def test_truncation_darkens() -> None:
    alpha = torch.tensor([0.0, 0.999, 1.0, 1.2, -0.1])
    assert quantise(alpha).tolist() == [0, 255, 255, 255, 0]
    assert quantise(alpha, "truncate").tolist() == [0, 254, 255, 255, 0]


def test_scale_names_a_paper_or_is_a_number() -> None:
    pred, target = make_clip(0)
    figures = []
    for scale in (1, "rvm", "modnet_v"):
        metric = MAD(scale=scale)
        metric.update(pred, target)
        figures.append(float(metric.compute()))
    assert figures == pytest.approx([figures[0], 1e3 * figures[0], 1e4 * figures[0]])


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: MAD(scale="nobody"), "scale"),
        (lambda: Grad(scale="modnet_v"), "scale"),
        (lambda: MAD(quantise="floor"), "quantise"),
        (lambda: Conn(ties="diagonal"), "ties"),
        (lambda: DtSSD(first_frame="half"), "first_frame"),
        (lambda: ForegroundMSE(convention="cmn"), "convention"),
        (lambda: ForegroundMAD(convention="cmn"), "convention"),
        (lambda: IoU(threshold=1.5), "threshold"),
        (lambda: score_frames(*make_clip(0), metrics=["mda"]), "mda"),
        (lambda: score_frames(*make_clip(0), metrics=["fgr_mse"]), "true_foreground"),
        (lambda: score_frames(*make_clip(0), metrics=["epe"]), "true_flow"),
        (lambda: score_frames(make_clip(0)[0], make_clip(0, 2)[0]), "B, T, 1, H, W"),
        (lambda: score_frames(*make_clip(0), trimap=make_clip(0, 2)[0]), "trimap"),
        (lambda: ForegroundMSE().update(*make_clip(0), make_clip(0)[0]), "B, T, 3, H, W"),
        (lambda: background_psnr(*make_clip(0), make_clip(0)[0]), "B, T, 3, h, w"),
        (lambda: flat_background_psnr(*make_clip(0)), r"mask \(B, T, 1, h, w\)"),
    ],
)
def test_a_choice_that_makes_no_sense_is_told_in_one_line(make: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word) as told:
        make()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("quantise", [None, "round"])
@pytest.mark.parametrize("name", ALPHA_METRICS)
@pytest.mark.parametrize(
    ("change", "role", "told"),
    [
        (lambda video: video * torch.nan, "pred", "pred .* 990 of 990 values .* from nan to nan"),
        (lambda video: video + torch.inf, "pred", "pred .* from inf to inf"),
        (lambda video: video.index_fill(1, torch.tensor([1]), torch.nan), "pred", "pred .* 330 of 990 values"),
        (lambda video: video * 255, "pred", r"pred must lie in \[0, 1\] or be uint8"),
        (lambda video: (video * 255).long(), "pred", r"pred must lie in \[0, 1\] or be uint8"),
        (lambda video: video - 0.5, "target", r"target must lie in \[0, 1\] .* from -0\.4"),
        (lambda video: video * torch.nan, "target", "target .* from nan to nan"),
        (lambda video: video * 255, "trimap", "trimap must lie in"),
        (lambda video: video.numpy(), "pred", "pred must be a torch tensor, got a ndarray"),
        (lambda video: [1], "target", "target must be a torch tensor, got a list"),
        (lambda video: "unknown", "trimap", "trimap must be a torch tensor, got a str"),
        (lambda video: video.to(torch.complex64), "pred", r"pred must be of real numbers, got torch\.complex64"),
    ],
)
def test_what_is_no_matte_has_no_score(name: str, change: Any, role: str, told: str, quantise: str | None) -> None:
    pred, target = make_clip(0)
    given = {"pred": pred, "target": target} | ({"trimap": pred} if role == "trimap" else {})
    metric_class, options = ALPHA_METRICS[name]
    metric = metric_class(quantise=quantise, **options)
    with pytest.raises(ValueError, match=told) as refused:
        metric.update(**given | {role: change(given[role])})
    assert metric.quantity in str(refused.value)
    assert metric.compute().isnan()  # nothing was added


@pytest.mark.parametrize("scale", [0, -1.0, torch.nan, torch.inf, None, True, "rmv", [1]])
def test_a_scale_that_is_none_is_refused(scale: Any) -> None:
    with pytest.raises(ValueError, match="scale of mad must be a number above 0 or one of"):
        MAD(scale=scale)


@pytest.mark.parametrize(
    "update",
    [
        lambda wrong, colour, alpha: ForegroundMSE().update(wrong, colour, alpha),
        lambda wrong, colour, alpha: ForegroundMAD().update(colour, wrong, alpha),
        lambda wrong, colour, alpha: ForegroundMSE().update(colour, colour, wrong[:, :, :1]),
        lambda wrong, colour, alpha: BackgroundPSNR().update(wrong, colour, alpha),
        lambda wrong, colour, alpha: EndPointError().update(wrong[:, :, :2] * torch.inf, colour[:, :, :2]),
        lambda wrong, colour, alpha: EndPointError().update(colour[:, :, :2], wrong[:, :, :2] * torch.inf),
    ],
)
@pytest.mark.parametrize("factor", [255, torch.nan])
def test_what_is_no_colour_or_flow_has_no_score(update: Any, factor: float) -> None:
    colour = torch.rand(1, 2, 3, 8, 12, generator=torch.Generator().manual_seed(0)) + 0.01
    colour = colour.clamp(max=1)
    with pytest.raises(ValueError, match=r"pred|target|alpha"):
        update(colour * factor, colour, colour[:, :, :1])


def test_rounding_may_leave_0_1_and_masks_are_mattes() -> None:
    pred, target = make_clip(0)
    MAD().update(pred * 1.0005, target > 0.5)
    MAD().update((pred * 255).to(torch.uint8), target.half())


def test_background_psnr_counts_covered_cells() -> None:
    true = torch.rand(1, 2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    cells = torch.nn.functional.avg_pool2d(true.flatten(0, 1), 4).unflatten(0, (1, 2))
    mask = torch.zeros(1, 2, 1, 2, 3)
    mask[:, 0, :, :, 0] = 1  # nothing is covered in frame 1
    restored = torch.where(mask > 0, cells + 0.01, torch.zeros(()))
    metric = BackgroundPSNR()
    metric.update(restored, true, mask)
    assert float(metric.compute()) == pytest.approx(40, abs=1e-3)
    assert torch.isnan(background_psnr(restored, true, mask)[0, 1])
    seen = cells[0, 0, :, :, 0]
    flat = ((seen - seen.mean(1, keepdim=True)) ** 2).mean()
    floor = flat_background_psnr(true, mask)
    assert float(floor[0, 0]) == pytest.approx(-10 * float(flat.log10()), abs=1e-4)
    assert torch.isnan(floor[0, 1])


def test_the_table_of_metrics_has_every_score() -> None:
    colours = torch.rand(2, 1, 3, 3, 15, 22, generator=torch.Generator().manual_seed(0))
    flows = torch.rand(2, 1, 3, 2, 15, 22, generator=torch.Generator().manual_seed(0))
    known = {"foreground": colours[0], "true_foreground": colours[1], "flow": flows[0], "true_flow": flows[1]}
    scores = score_frames(*make_clip(0), **known)
    assert list(scores) == list(METRICS)
    assert all(values.shape == (1, 3) and values.dtype == torch.float64 for values in scores.values())
    assert [name for name, info in METRICS.items() if info.higher_is_better] == ["iou"]


def test_the_flow_of_the_frame_where_a_clip_begins_is_not_scored() -> None:
    pred, target = make_clip(0)
    still, moved = torch.zeros(1, 3, 2, 15, 22), torch.full((1, 3, 2, 15, 22), 3.0)
    whole = score_frames(pred, target, flow=still, true_flow=moved, metrics=["epe"])["epe"]
    assert whole[0].isnan().tolist() == [True, False, False]
    assert whole[0, 1:].tolist() == pytest.approx([18**0.5] * 2)
    before = (pred[:, :1], target[:, :1])
    later = score_frames(
        pred[:, 1:], target[:, 1:], flow=still[:, 1:], true_flow=moved[:, 1:], previous=before, metrics=["epe"]
    )
    assert torch.equal(later["epe"], whole[:, 1:])


def test_frames_in_which_nobody_is_have_no_overlap_whatever_is_predicted() -> None:
    target, pred = torch.zeros(1, 3, 1, 4, 4), torch.zeros(1, 3, 1, 4, 4)
    pred[:, 1:, ..., :2] = 1
    target[:, 2] = 1
    values = iou(pred, target)
    assert values.isnan().tolist() == [[True, True, False]]
    assert values[0, 2] == 0.5
