"""Scoring: rows a clip and frame, true figures, pictures, cost."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules.batch import MattingBatch
from experiments.cell import summarise
from experiments.evaluation import evaluate, evaluate_constant, measure_cost
from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet, MattingOutput

CPU = torch.device("cpu")


def clip(stratum: str, name: str, num_frames: int = 3) -> MattingBatch:
    draw = torch.Generator().manual_seed(len(name))
    foreground, background = torch.rand(2, 1, num_frames, 3, 32, 48, generator=draw)
    alpha = torch.rand(1, num_frames, 1, 32, 48, generator=draw)
    frames = alpha * foreground + (1 - alpha) * background
    return MattingBatch(frames, alpha, foreground, background, None, None, [name], ["room"], [stratum])


class Reader(MattingNet):
    """Finds the true alpha, off by `error`, and remembers how much background it restored."""

    def __init__(self, truth: list[Tensor], error: float) -> None:
        super().__init__()
        self.truth, self.error = list(truth), error

    def forward(self, frames: Tensor, state: object = None, background: Tensor | None = None) -> MattingOutput:
        assert not self.training
        assert background is not None
        alpha = self.truth.pop(0) + self.error
        mask = torch.zeros(*frames.shape[:2], 1, 4, 6)
        mask[..., :2, :] = 1
        return MattingOutput(alpha, aux={"background_mask": mask, "background_feature": mask.expand(-1, -1, 5, -1, -1)})


def test_a_row_for_each_clip_and_frame_with_the_true_error() -> None:
    clips = [clip("static", "anna"), clip("fast", "ben")]
    table = evaluate(Reader([each.alpha * 0.5 for each in clips], error=0.25), clips, CPU)
    assert table[["clip", "stratum", "frame"]].values.tolist() == [
        *(["anna", "static", t] for t in range(3)),
        *(["ben", "fast", t] for t in range(3)),
    ]
    expected = (clips[0].alpha * 0.5 + 0.25 - clips[0].alpha).abs().mean(dim=(0, 2, 3, 4)).tolist()
    assert table["mad"][:3].tolist() == pytest.approx(expected, rel=1e-5)
    assert table["coverage"].tolist() == [0.5] * 6


def test_alpha_out_of_range_is_clamped_before_it_is_scored() -> None:
    one = clip("static", "anna")
    one.alpha[:] = 1
    assert evaluate(Reader([one.alpha], error=0.5), [one], CPU)["mad"].max() == 0


def test_the_restored_background_is_scored_on_restored_cells_only() -> None:
    class Half(nn.Module):
        """Decodes (1, 1, 1), white, to where the memory is and black elsewhere."""

        def forward(self, feature: Tensor) -> Tensor:
            return 2 * feature[:, :3] - 1

    one = clip("static", "anna")
    one.background[:] = 0.5
    table = evaluate(Reader([one.alpha], error=0.0), [one], CPU, decoder=Half())
    assert table["background_psnr"].tolist() == pytest.approx([-20 * np.log10(0.5)] * 3, abs=1e-3)


def test_a_net_is_left_in_the_mode_it_had() -> None:
    net = build_net("modnet_v", width=0.25, hidden=8, prm=False).train()
    evaluate(net, [clip("static", "anna")], CPU)
    assert net.training


def test_strips_of_the_first_clip_of_each_stratum_are_written(tmp_path: Path) -> None:
    clips = [clip("slow/plain", "anna"), clip("slow/plain", "ben"), clip("fast", "cleo")]
    evaluate(Reader([each.alpha for each in clips], error=0.0), clips, CPU, media=tmp_path)
    stems = {path.name.rpartition("__")[0] for path in tmp_path.iterdir()}
    assert stems == {"slow-plain__anna", "fast__cleo"}
    frames = cv2.imread(str(tmp_path / "fast__cleo__frame.png"))
    assert frames.shape == (32, 3 * 48, 3)
    first = clips[2].frames[0, 0].permute(1, 2, 0).numpy() * 255
    assert np.abs(frames[:, :48, ::-1] - first).max() <= 0.51


def test_a_constant_matte_scores_its_distance() -> None:
    one = clip("static", "anna")
    table = evaluate_constant([one], 0.25)
    assert table["mad"].mean() == pytest.approx(float((one.alpha - 0.25).abs().mean()), rel=1e-5)
    assert "coverage" not in table


def test_the_summary_weighs_strata_alike_whatever_their_number_of_clips() -> None:
    clips = [clip("static", "anna"), clip("static", "ben"), clip("fast", "cleo")]
    table = evaluate_constant(clips, 0.0)
    by_clip = table.groupby("clip")["mad"].mean()
    expected = ((by_clip["anna"] + by_clip["ben"]) / 2 + by_clip["cleo"]) / 2
    assert summarise(table)["mad"] == pytest.approx(1e3 * expected)


def test_cost_counts_parameters_and_multiply_adds() -> None:
    net = build_net("modnet_v", prm=False)
    cost = measure_cost(net, torch.rand(1, 1, 3, 64, 96), repetitions=1)
    assert cost["parameters"] == 2_131_843
    assert cost["gmacs_per_frame"] == pytest.approx(6.93 * 64 * 96 / 512**2, rel=0.05)
    assert cost["milliseconds_per_frame"] > 0
    assert cost["frame"] == "64×96"
