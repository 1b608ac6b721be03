"""Scoring: rows a clip and frame, true figures, pictures, cost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from datamodules.batch import MattingBatch
from experiments.inference import streaming
from experiments.inference.streaming import Streaming
from experiments.scoring.evaluation import Scoring, evaluate, evaluate_constant
from experiments.scoring.media import MediaFolder
from experiments.statistics.strata import summarise
from lightning_modules.metrics.frames import quantise
from lightning_modules.metrics.scores import score_frames
from lightning_modules.metrics.table import METRICS
from lightning_modules.metrics.trimap import closed_trimap
from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet, MattingOutput
from tests.batches import tiny_batch

CPU = torch.device("cpu")


class Clip:
    """A `TestClip` in memory; its alpha is noise, or an edge with a soft border."""

    has_foreground = has_background = True

    def __init__(self, stratum: str, name: str, num_frames: int = 3, soft_edge: bool = False) -> None:
        draw = torch.Generator().manual_seed(len(name))
        self.stratum, self.name, self.scene, self.key = stratum, name, "room", f"{stratum}/{name}"
        self.num_frames, self.size = num_frames, (32, 48)
        foreground, background = torch.rand(2, 1, num_frames, 3, 32, 48, generator=draw)
        alpha = torch.rand(1, num_frames, 1, 32, 48, generator=draw)
        if soft_edge:
            alpha = (alpha * 0.2 + torch.linspace(-3, 3, 48)).clamp(0, 1)
        flow = 4 * torch.randn(1, num_frames, 2, 1, 1, generator=draw).expand(-1, -1, -1, 32, 48)
        self.batch = tiny_batch(alpha, foreground, background, flow, clip=name, stratum=stratum)

    def read(self, start: int, stop: int) -> MattingBatch:
        layers = ("frames", "alpha", "foreground", "background", "flow")
        parts = {name: value[:, start:stop] for name in layers if (value := getattr(self.batch, name)) is not None}
        return replace(self.batch, **parts)


class Reader(MattingNet):
    """Finds the true alpha × `factor` + `error`, and remembers how much background it restored."""

    def __init__(self, clips: list[Clip], error: float = 0.0, factor: float = 1.0, colour: float | None = None) -> None:
        super().__init__()
        self.truth = {
            float(c.batch.frames[0, t].sum()): c.batch.alpha[0, t] for c in clips for t in range(c.num_frames)
        }
        self.error, self.factor, self.colour = error, factor, colour

    def forward(self, frames: Tensor, state: object = None, background: Tensor | None = None) -> MattingOutput:
        assert not self.training
        assert background is not None
        alphas = [torch.stack([self.truth[float(frame.sum())] for frame in clip]) for clip in frames]
        alpha = torch.stack(alphas) * self.factor + self.error
        mask = torch.zeros(*frames.shape[:2], 1, 4, 6)
        mask[..., :2, :] = 1
        aux = {"background_mask": mask, "background_feature": mask.expand(-1, -1, 5, -1, -1)}
        return MattingOutput(alpha, None if self.colour is None else torch.full_like(frames, self.colour), aux=aux)


def test_a_row_for_each_clip_and_frame_with_the_true_error() -> None:
    clips = [Clip("static", "anna"), Clip("fast", "ben")]
    table = evaluate(Reader(clips, error=0.25, factor=0.5), clips, CPU)
    assert table[["clip", "stratum", "frame"]].values.tolist() == [
        *(["anna", "static", t] for t in range(3)),
        *(["ben", "fast", t] for t in range(3)),
    ]
    alpha = clips[0].batch.alpha
    expected = (alpha * 0.5 + 0.25 - alpha).abs().mean(dim=(0, 2, 3, 4)).tolist()
    assert table["mad"][:3].tolist() == pytest.approx(expected, rel=1e-5)
    assert table["coverage"].tolist() == [0.5] * 6
    assert set(METRICS) - {"epe"} <= set(table)
    assert "epe" not in table


@pytest.mark.parametrize("chunk", [1, 2, 3])
@pytest.mark.parametrize("scoring", [Scoring(), Scoring(quantise="round"), Scoring(region="unknown")])
def test_every_figure_is_that_of_the_whole_clip_however_it_is_cut(chunk: int, scoring: Scoring) -> None:
    clip = Clip("static", "anna", 5, soft_edge=True)
    table = evaluate(Reader([clip], 0.1, 0.7, colour=0.5), [clip], CPU, Streaming(chunk=chunk), scoring)
    alpha = clip.batch.alpha * 0.7 + 0.1
    foreground = torch.full_like(clip.batch.foreground, 0.5)
    if scoring.quantise != "none":
        alpha, foreground = quantise(alpha), quantise(foreground)
    trimap = closed_trimap(clip.batch.alpha) if scoring.region == "unknown" else None
    expected = score_frames(
        alpha, clip.batch.alpha, foreground=foreground, true_foreground=clip.batch.foreground, trimap=trimap
    )
    for name, values in expected.items():
        assert table[name].tolist() == pytest.approx(values[0].tolist(), rel=1e-9), name
    assert table["foreground_predicted"].all()


def test_a_net_without_foreground_is_scored_with_the_frame_in_its_place() -> None:
    clip = Clip("static", "anna")
    table = evaluate(Reader([clip]), [clip], CPU)
    expected = (clip.batch.frames - clip.batch.foreground).square().mean(dim=(0, 2, 3, 4))
    assert table["fgr_mse"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert not table["foreground_predicted"].any()


def test_a_clip_without_true_foreground_has_no_figure_of_it() -> None:
    clip = Clip("static", "anna")
    clip.has_foreground = False
    assert "fgr_mse" not in evaluate(Reader([clip]), [clip], CPU)


class Mover(MattingNet):
    """A net that uses flow, `factor` times the true one, at `share` of the size of its frames."""

    needs_flow = True

    def __init__(self, factor: float, share: float = 1.0) -> None:
        super().__init__()
        self.factor, self.share = factor, share

    def forward(
        self, frames: Tensor, state: object = None, background: Tensor | None = None, flow: Tensor | None = None
    ) -> MattingOutput:
        assert flow is not None
        height, width = (round(self.share * side) for side in frames.shape[-2:])
        small = self.share * flow[..., :1, :1].expand(-1, -1, -1, height, width)
        return MattingOutput(frames[:, :, :1], aux={"flow": self.factor * small})


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_flow_that_a_net_used_is_scored_in_pixels_of_the_frame(chunk: int, share: float) -> None:
    clip, how = Clip("static", "anna", 5), Streaming(chunk=chunk)
    assert clip.batch.flow is not None
    length = clip.batch.flow[0, :, :, 0, 0].norm(dim=1)
    for factor in (0.0, 0.5, 1.0):  # all stands still, half right, the oracle
        errors = evaluate(Mover(factor, share), [clip], CPU, how)["epe"]
        assert np.isnan(errors[0])
        assert errors[1:].tolist() == pytest.approx(((1 - factor) * length[1:]).tolist(), abs=1e-5)
    table = evaluate(Mover(0.0), [clip], CPU, how, Scoring(("iou",)))
    assert summarise(table)["epe"] == pytest.approx(float(length[1:].mean()))


def test_flow_is_not_scored_where_the_truth_is_unknown() -> None:
    class Guesser(Reader):
        """Sees no motion."""

        def forward(self, frames: Tensor, state: object = None, background: Tensor | None = None) -> MattingOutput:
            output = super().forward(frames, state, background)
            output.aux["flow"] = torch.zeros_like(frames[:, :, :2])
            return output

    clip = Clip("static", "anna")
    assert "epe" in evaluate(Guesser([clip]), [clip], CPU)
    clip.batch.flow = None
    assert "epe" not in evaluate(Guesser([clip]), [clip], CPU)


def test_only_what_is_asked_for_is_measured_besides_what_records_hold() -> None:
    clip = Clip("static", "anna")
    table = evaluate(Reader([clip]), [clip], CPU, scoring=Scoring(("iou",)))
    assert {"mad", "mse", "dtssd", "iou"} == set(METRICS) & set(table)


def test_connectivity_is_left_out_of_wide_frames_unless_it_is_asked_for() -> None:
    clip = Clip("static", "anna")
    assert "conn" in Scoring().metrics_for(clip)
    clip.size = (1080, 1920)
    assert "conn" not in Scoring().metrics_for(clip)
    assert "conn" in Scoring(("conn",)).metrics_for(clip)


def test_alpha_out_of_range_is_clamped_before_it_is_scored() -> None:
    one = Clip("static", "anna")
    one.batch.alpha[:] = 1
    assert evaluate(Reader([one], error=0.5), [one], CPU)["mad"].max() == 0


def test_a_matte_that_is_not_a_number_is_the_worst() -> None:
    clip = Clip("static", "anna")
    table = evaluate(Reader([clip], error=float("nan")), [clip], CPU, scoring=Scoring(quantise="round"))
    assert table["mad"].tolist() == table["dtssd"].tolist() == table["conn"].tolist() == [np.inf] * 3
    assert table["iou"].tolist() == [0] * 3
    assert summarise(table)["dtssd"] == np.inf


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_one_frame_that_is_not_a_number_is_in_every_mean(chunk: int) -> None:
    clip = Clip("static", "anna", 5)

    class Stumbling(Reader):
        """Sees nothing in the third frame."""

        def forward(self, frames: Tensor, state: object = None, background: Tensor | None = None) -> MattingOutput:
            output = super().forward(frames, state, background)
            stumbles = [bool(torch.equal(frame, clip.batch.frames[0, 2])) for frame in frames[0]]
            output.alpha[:, torch.tensor(stumbles)] = torch.nan
            return output

    table = evaluate(Stumbling([clip]), [clip], CPU, Streaming(chunk=chunk))
    assert np.isinf(table["mad"]).tolist() == [False, False, True, False, False]
    assert np.isinf(table["dtssd"]).tolist() == [False, False, True, True, False]
    assert all(np.isinf(summarise(table)[name]) for name in ("mad", "mse", "sad", "grad", "conn", "dtssd", "fgr_mse"))


def test_the_restored_background_is_scored_on_restored_cells_only() -> None:
    class Half(nn.Module):
        """Decodes (1, 1, 1), white, to where the memory is and black elsewhere."""

        def forward(self, feature: Tensor) -> Tensor:
            return 2 * feature[:, :3] - 1

    one = Clip("static", "anna")
    one.batch.background[:] = 0.5
    table = evaluate(Reader([one]), [one], CPU, decoder=Half())
    assert table["background_psnr"].tolist() == pytest.approx([-20 * np.log10(0.5)] * 3, abs=1e-3)
    assert table["flat_background_psnr"].tolist() == [100.0] * 3  # it is grey: one colour restores it


def test_a_net_is_left_in_the_mode_it_had() -> None:
    net = build_net("modnet_v", width=0.25, hidden=8, prm=False).train()
    evaluate(net, [Clip("static", "anna")], CPU)
    assert net.training


def test_strips_of_the_first_clip_of_each_stratum_are_written(tmp_path: Path) -> None:
    clips = [Clip("slow/plain", "anna"), Clip("slow/plain", "ben"), Clip("fast", "cleo")]
    evaluate(Reader(clips), clips, CPU, Streaming(chunk=2), media=MediaFolder(tmp_path, clips))
    stems = {path.name.rpartition("__")[0] for path in tmp_path.glob("*.png")}
    assert stems == {"slow-plain__anna", "fast__cleo"}
    frames = cv2.imread(str(tmp_path / "fast__cleo__frame.png"))
    assert frames is not None
    assert frames.shape == (32, 3 * 48, 3)
    for t in range(3):
        frame = clips[2].batch.frames[0, t].permute(1, 2, 0).numpy() * 255
        assert np.abs(frames[:, 48 * t : 48 * (t + 1), ::-1] - frame).max() <= 0.51


def test_a_constant_matte_scores_its_distance() -> None:
    one = Clip("static", "anna")
    table = evaluate_constant([one], 0.25)
    assert table["mad"].mean() == pytest.approx(float((one.batch.alpha - 0.25).abs().mean()), rel=1e-5)
    assert "coverage" not in table


def test_the_summary_weighs_strata_alike_whatever_their_number_of_clips() -> None:
    clips = [Clip("static", "anna"), Clip("static", "ben"), Clip("fast", "cleo")]
    table = evaluate_constant(clips, 0.0)
    by_clip = table.groupby("clip")["mad"].mean()
    expected = ((by_clip["anna"] + by_clip["ben"]) / 2 + by_clip["cleo"]) / 2
    assert summarise(table)["mad"] == pytest.approx(1e3 * expected)


@pytest.mark.parametrize(
    "scoring", [{"metrics": ("mad", "lpips")}, {"metrics": ()}, {"quantise": "floor"}, {"region": "known"}]
)
def test_a_wrong_option_is_named(scoring: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(scoring))):
        Scoring(**scoring)


class Standing(MattingNet):
    """Estimates that nothing moves."""

    def forward(self, frames: Tensor, state: object = None, background: Tensor | None = None) -> MattingOutput:
        return MattingOutput(frames[:, :, :1], aux={"flow": torch.zeros_like(frames[:, :, :2])})


def test_a_clip_whose_motion_is_known_is_scored_by_it_beside_one_whose_is_not() -> None:
    clips = [Clip("static", "anna"), Clip("static", "ben"), Clip("static", "cleo")]
    clips[1].batch.flow = None
    table = evaluate(Standing(), clips, CPU)
    assert table["clip"].tolist() == [name for name in ("anna", "ben", "cleo") for _ in range(3)]
    assert table["epe"].notna().tolist() == [
        frame > 0 and clip != "ben" for clip, frame in table[["clip", "frame"]].values
    ]


@pytest.mark.parametrize("name", ["modnet_v", "rvm", "background_matting_v2"])
def test_clips_side_by_side_score_as_one_by_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [Clip("static", "anna", 4), Clip("static", "ben", 4), Clip("fast", "cleo", 4), Clip("fast", "di", 2)]
    net = build_net(name, width=0.25, hidden=8, prm=False) if name == "modnet_v" else build_net(name)
    net.reset_parameters(0)
    together = evaluate(net, clips, CPU, media=MediaFolder(tmp_path / "together", clips))
    monkeypatch.setattr(streaming, "CLIPS_AT_ONCE", 1)
    alone = evaluate(net, clips, CPU, media=MediaFolder(tmp_path / "alone", clips))
    pd.testing.assert_frame_equal(together, alone, rtol=1e-4, atol=1e-6)
    assert {p.name for p in (tmp_path / "together").iterdir()} == {p.name for p in (tmp_path / "alone").iterdir()}
