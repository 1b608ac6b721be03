"""CMN's objective: terms by hand, what is frozen when, and that a small net learns a clip by heart."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from datamodules.batch import MattingBatch
from datamodules.video_matting import VideoMattingDataModule
from lightning_modules.losses import laplacian_loss
from lightning_modules.module import MattingModule, Recipe
from lightning_modules.nets import build_net
from lightning_modules.nets.context_motion import ContextMotion
from lightning_modules.objectives.context_motion import ContextMotionObjective
from tests.batches import tiny_batch


def small(flow: str = "none", **options: object) -> ContextMotion:
    net = build_net(
        "context_motion", backbone="mobilenetv2", flow=flow,
        **{"width": 0.25, "context_channels": 16, "hidden": 8, "decoder_channels": 8} | options,
    )  # fmt: skip
    net.reset_parameters(0)
    assert isinstance(net, ContextMotion)
    return net


def clip(num_frames: int = 3, size: int = 64, flow: bool = False) -> MattingBatch:
    draw = torch.Generator().manual_seed(0)
    foreground, background = torch.rand(2, 1, num_frames, 3, size, size, generator=draw)
    alpha = (torch.rand(1, num_frames, 1, size, size, generator=draw) - 0.3).clamp(0, 1)
    return tiny_batch(alpha, foreground, background, torch.zeros(1, num_frames, 2, size, size) if flow else None)


def test_terms_are_sums_over_frames_of_means_over_pixels() -> None:
    net, batch = small().train(), clip()
    terms = ContextMotionObjective(net, 10)(net, batch, torch.Generator())
    output = net(batch.frames)
    assert output.foreground is not None
    visible = batch.alpha > 0
    alpha = sum((output.alpha[:, t] - batch.alpha[:, t]).abs().mean() for t in range(3))
    laplacian = sum(5 * laplacian_loss(output.alpha[:, t], batch.alpha[:, t]) for t in range(3))
    wrong = (output.foreground - batch.foreground).abs() * visible
    foreground = sum(wrong[:, t].mean() for t in range(3))
    expected = {"alpha": alpha, "laplacian": laplacian, "foreground": foreground}
    expected["loss"] = alpha + laplacian + 0.1 * foreground
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def trained_steps(net: ContextMotion, steps: int, **options: object) -> list[dict[str, torch.Tensor]]:
    """Weights before training and after each step."""
    recipe = Recipe(ContextMotionObjective(net, steps, **options), "adamw", 1e-3, weight_decay=0.01)  # type: ignore[arg-type]
    history = []

    class Keep(pl.Callback):
        def on_train_batch_start(self, *_: object) -> None:
            history.append({name: value.clone() for name, value in net.state_dict().items()})

    trainer = pl.Trainer(
        accelerator="cpu", max_steps=steps, gradient_clip_val=1.0, gradient_clip_algorithm="value", logger=False,
        callbacks=[Keep()], enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(MattingModule(net, recipe), DataLoader([clip(2)] * steps, batch_size=None))  # type: ignore[arg-type]
    return [*history, {name: value.clone() for name, value in net.state_dict().items()}]


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], part: str) -> bool:
    return any(not torch.equal(value, after[name]) for name, value in before.items() if name.startswith(part))


@pytest.mark.slow
def test_gradient_reaches_the_flow_net_only_after_unfreezing_and_norms_never() -> None:
    net = small("pwcnet")
    norms = {
        f"{name}.{key}"
        for name, module in net.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for key in module.state_dict()
    }
    before, first, second, third, last = trained_steps(net, 4)
    assert not changed(before, second, "flow.")  # not even by weight decay
    assert changed(second, third, "flow.")
    assert changed(third, last, "flow.")
    for early, late in ((before, first), (first, second), (second, third)):
        assert changed(early, late, "backbone.")
        assert changed(early, late, "motion.")
    assert all(torch.equal(before[name], last[name]) for name in norms)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "moves"), [(0.0, True), (1.0, False)])
def test_the_frozen_share_runs_from_never_to_always(share: float, moves: bool) -> None:
    before, *_, last = trained_steps(small("pwcnet"), 2, frozen_share=share)
    assert changed(before, last, "flow.") == moves


def test_the_oracle_is_given_the_true_flow_and_misses_it_loudly() -> None:
    net = small("oracle").train()
    objective = ContextMotionObjective(net, 10)
    assert objective(net, clip(flow=True), torch.Generator())["loss"].isfinite()
    with pytest.raises(ValueError, match=r"data\.flow=true"):
        objective(net, clip(), torch.Generator())
    MattingModule(net, Recipe(objective)).net.eval()
    with pytest.raises(ValueError, match="frozen_share must lie in"):
        ContextMotionObjective(net, 10, frozen_share=2)
    with pytest.raises(ValueError, match="needs model=context_motion, got MODNet"):
        ContextMotionObjective(build_net("modnet", width=0.25, hidden=8), 10)  # type: ignore[arg-type]


def test_parts_may_have_rates_of_their_own() -> None:
    net = small("pwcnet")
    groups = ContextMotionObjective(net, 10).parameter_groups(net, {"flow": 1e-5, "backbone": 0.0, "rest": 1e-4})
    assert [group["lr"] for group in groups] == [1e-5, 1e-4]
    assert len(groups[0]["params"]) == 126
    assert not {id(p) for group in groups for p in group["params"]} & {id(p) for p in net.backbone.parameters()}


@pytest.mark.slow
def test_a_small_net_learns_a_clip_by_heart(tmp_path: Path) -> None:
    options = {"name": "procedural", "cache_dir": str(tmp_path)}
    people = {**options, "num_clips": 1, "num_frames": 3, "hair_fineness": 0.0, "motion_blur": 0.0}
    rooms = {**options, "num_scenes": 1}
    data = VideoMattingDataModule(
        dict.fromkeys(("train", "val", "test"), people),
        dict.fromkeys(("train", "val", "test"), rooms),
        clip_length=3, size=64, batch_size=1, num_steps=1, flow=True,
    )  # fmt: skip
    data.prepare_data(parts=("train",))
    batch = next(iter(data.train_dataloader()))
    net = small("oracle", width=0.5, context_channels=64, hidden=32, decoder_channels=12).train()
    recipe = Recipe(ContextMotionObjective(net, 120), "adamw", 0.006, 0.9, 0.01, "onecycle", warmup=0.3)
    optimizer = recipe.make_optimizer(net)
    for step in range(120):
        for group in optimizer.param_groups:
            group["lr"] = 0.006 * recipe.rate(step, 120)
        optimizer.zero_grad()
        recipe.objective(net, batch, torch.Generator())["loss"].backward()
        torch.nn.utils.clip_grad_value_(net.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        alpha = net.eval()(batch.frames, flow=batch.flow).alpha
    assert (alpha - batch.alpha).abs().mean() < 0.01
