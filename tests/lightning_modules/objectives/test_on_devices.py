"""Every objective of the table on every device: a finite loss, gradients, and on CUDA the numbers of the CPU."""

from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.batch import MattingBatch, SegmentationBatch
from lightning_modules.nets import build_net
from lightning_modules.objectives import OBJECTIVES
from tests.batches import disc, tiny_batch
from tests.lightning_modules.nets.small import SMALL

REFINED = SMALL["modnet_v"] | {"prm": True, "prm_mode": "all", "working_size": 32}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "modnet": ("modnet", SMALL["modnet"], {}),
    "soc": ("modnet", SMALL["modnet"], {}),
    "modnet_v": ("modnet_v", SMALL["modnet_v"], {}),
    "patch_refinement": ("modnet_v", REFINED, {}),
    "rvm": ("rvm", SMALL["rvm"], {}),
    "background_matting_base": ("background_matting_v2", SMALL["background_matting_v2"], {}),
    "background_matting_refine": ("background_matting_v2", SMALL["background_matting_v2"], {}),
    "segmentation": ("lraspp", SMALL["lraspp"], {}),
    "context_motion": ("context_motion", SMALL["context_motion"], {"num_steps": 1}),
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def batches(side: int = 64) -> dict[str, MattingBatch | SegmentationBatch]:
    draw = torch.Generator().manual_seed(0)
    foreground, background = torch.rand(2, 2, 3, 3, side, side, generator=draw)
    alpha = disc(side).expand(2, 3, 1, side, side).clone()
    flow = torch.zeros(2, 3, 2, side, side)
    matting = tiny_batch(alpha, foreground, background, flow)
    return {"matting": matting, "segmentation": SegmentationBatch(matting.frames, alpha, matting.clip)}


def loss_and_gradient(name: str, device: str, batch: MattingBatch | SegmentationBatch) -> tuple[Tensor, Tensor]:
    """Of one step, both on the CPU; the gradient is the norm of all."""
    kind, options, own = CASES[name]
    torch.manual_seed(0)
    net = build_net(kind, **options)
    net.reset_parameters(3)
    objective = OBJECTIVES[name](net, **own).to(device)
    net.to(device).train()
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()  # each device draws others
    objective.before_step(net, 0)
    loss = objective(net, batch.to(device), torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    gradients = [each.grad.norm() for each in net.parameters() if each.grad is not None]
    return loss.detach().cpu(), torch.stack(gradients).norm().cpu()


def test_every_objective_of_the_table_has_a_case() -> None:
    assert set(CASES) == set(OBJECTIVES)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "matting") for name in CASES), ("rvm", "segmentation")], ids="-".join
)
def test_every_objective_gives_a_loss_and_gradients(
    name: str, kind: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    batch = batches()[kind]
    loss, gradient = loss_and_gradient(name, device, batch)
    assert loss.isfinite()
    assert 0 < gradient < float("inf")
    if device != "cpu":
        expected = loss_and_gradient(name, "cpu", batch)
        torch.testing.assert_close(loss, expected[0], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(gradient, expected[1], rtol=2e-2, atol=1e-5)
