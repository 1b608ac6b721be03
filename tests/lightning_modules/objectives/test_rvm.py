"""RVM's objective: which pass trains what, and the weighted sum of the terms."""

from dataclasses import replace

import pytest
import torch

from datamodules.batch import MattingBatch, SegmentationBatch
from lightning_modules import losses
from lightning_modules.nets import build_net
from lightning_modules.nets.rvm import RVM
from lightning_modules.objectives.rvm import RVMObjective
from tests.batches import tiny_batch

DRAWS = torch.Generator()


def small_net() -> RVM:
    net = build_net("rvm", width=0.25, decoder_width=0.25)
    assert isinstance(net, RVM)
    net.reset_parameters(0)
    return net.train()


def clip(pass_name: str, size: int = 128) -> MattingBatch:
    draw = torch.Generator().manual_seed(1)
    foreground, background = torch.rand(2, 1, 3, 3, size, size, generator=draw)
    alpha = torch.zeros(1, 3, 1, size, size)
    for t in range(3):
        alpha[:, t, :, 20 : size - 20, 20 + 4 * t : size // 2 + 4 * t] = 1
    return replace(tiny_batch(alpha, foreground, background), pass_name=pass_name)


def people(pass_name: str = "segmentation_video") -> SegmentationBatch:
    batch = clip("")
    return SegmentationBatch(batch.frames, batch.alpha, ["a"], pass_name)


def trained_parts(batch: MattingBatch | SegmentationBatch) -> set[str]:
    net = small_net()
    RVMObjective(net)(net, batch, DRAWS)["loss"].backward()
    return {name.partition(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize(
    ("batch", "idle"),
    [
        (clip("matting"), {"refiner", "segmentation_head"}),
        (clip("matting_high"), {"segmentation_head"}),
        (people(), {"refiner", "matting_head"}),
    ],
    ids=["low resolution", "high resolution", "segmentation"],
)
def test_a_pass_trains_the_parts_that_it_uses(batch: MattingBatch | SegmentationBatch, idle: set[str]) -> None:
    parts = {"backbone", "aspp", "decoder", "matting_head", "segmentation_head", "refiner"}
    net = small_net()
    assert trained_parts(batch) == parts - idle, "all that is not idle has a gradient"
    assert RVMObjective(net).idle_parameters


def test_the_loss_is_the_sum_of_the_terms_with_temporal_ones_five_times() -> None:
    net, batch = small_net(), clip("")
    terms = RVMObjective(net)(net, batch, DRAWS)
    ones = terms["alpha_l1"] + terms["alpha_laplacian"] + terms["foreground_l1"]
    fives = terms["alpha_coherence"] + terms["foreground_coherence"]
    torch.testing.assert_close(terms["loss"], ones + 5 * fives)
    torch.testing.assert_close(terms["matting"], terms["loss"])


def test_segmentation_is_binary_cross_entropy_of_the_logits() -> None:
    net, batch = small_net(), people()
    loss = RVMObjective(net)(net, batch, DRAWS)["segmentation_video"]
    logits = net(batch.images, segmentation_pass=True).aux["segmentation"]
    torch.testing.assert_close(loss, losses.segmentation_loss(logits, batch.masks))


@pytest.mark.slow
def test_a_few_steps_lower_the_losses_of_all_passes() -> None:
    net = small_net()
    objective = RVMObjective(net)
    passes = (clip("matting", 96), clip("matting_high", 96), people())
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    history: list[list[float]] = []
    for _ in range(7):
        history.append([])
        for batch in passes:
            loss = objective(net, batch, DRAWS)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history[-1].append(float(loss.detach()))
    assert all(last < 0.97 * first for first, last in zip(history[0], history[-1], strict=True)), history
