"""MODNet-V's objectives: where gradients and statistics go, and what stage 2 trains."""

import copy
from dataclasses import replace
from typing import Literal
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from datamodules.batch import MattingBatch
from lightning_modules.nets import build_net
from lightning_modules.nets.modnet_v import MODNetV
from lightning_modules.objectives.modnet import MODNetObjective, SOCObjective
from lightning_modules.objectives.modnet_v import MODNetVObjective, PatchRefinementObjective
from tests.batches import disc, tiny_batch


def clip_batch(num_frames: int, size: int = 64, num_clips: int = 2) -> MattingBatch:
    draw = torch.Generator().manual_seed(num_frames)
    foreground, background = torch.rand(2, num_clips, num_frames, 3, size, size, generator=draw)
    return tiny_batch(disc(size).expand(num_clips, num_frames, 1, -1, -1).contiguous(), foreground, background)


def small_net(**options: object) -> MODNetV:
    net = build_net("modnet_v", width=0.25, hidden=8, **options)
    assert isinstance(net, MODNetV)
    net.reset_parameters(0)
    return net


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def with_prior(net: MODNetV) -> MODNetV:
    """The fuse starts at zero; this makes the net listen to its memory."""
    assert net.brm is not None
    nn.init.ones_(net.brm.fuse_norm.weight)
    return net


def test_one_frame_gives_a_single_term() -> None:
    net = small_net(prm=False)
    objective = MODNetVObjective(net)
    alone = objective(net, clip_batch(1), generator())
    assert set(alone) == {"loss", "semantic", "detail", "matte", "background"}
    weighted = 10 * alone["semantic"] + 10 * alone["detail"] + alone["matte"] + alone["background"]
    assert torch.allclose(alone["loss"], weighted)


def test_loss_at_the_last_frame_has_no_path_into_the_first() -> None:
    net = with_prior(small_net(prm=False))
    objective = MODNetVObjective(net)
    batch = clip_batch(3)
    batch.frames.requires_grad_()
    first = net(batch.frames[:, :1])
    state = objective._advance(net, first.state, batch.frames[:, 1:2], objective._truth(net, batch, False, 1, 2))
    last = net(batch.frames[:, 2:], state=state)
    gradient = torch.autograd.grad(last.alpha.sum(), batch.frames)[0]
    assert (gradient[:, :2] == 0).all()
    assert gradient[:, 2].abs().sum() > 0


def test_longer_backpropagation_reaches_the_frame_before() -> None:
    net = with_prior(small_net(prm=False, brm_threshold=0.0))
    reached: dict[int, Tensor] = {}
    for backprop_frames in (1, 2):
        batch = clip_batch(3)
        batch.frames.requires_grad_()
        # The losses alone: the matte at T hears of frame 2 through the memory only.
        objective = MODNetVObjective(net, background_weight=0.0, backprop_frames=backprop_frames)
        reached[backprop_frames] = torch.autograd.grad(objective(net, batch, generator())["loss"], batch.frames)[0]
    assert (reached[1][:, 1] == 0).all()
    assert reached[2][:, 1].abs().sum() > 0


@pytest.mark.parametrize(("num_frames", "updates"), [(1, 1), (2, 2), (7, 2)])
def test_running_statistics_change_at_supervised_frames_only(num_frames: int, updates: int) -> None:
    net = small_net(prm=False)
    norm = net.backbone.features[0][1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.constant_(norm.running_mean, 1000.0)  # each update multiplies what is left of this by 0.9
    MODNetVObjective(net)(net, clip_batch(num_frames), generator())
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, torch.full_like(norm.running_mean, 1000 * 0.9**updates), atol=2.0)


def test_the_state_rolls_over_all_frames_between() -> None:
    net = with_prior(small_net(prm=False, brm_threshold=0.0)).eval()
    batch = clip_batch(5)
    objective = MODNetVObjective(net)
    advanced = objective._advance(
        net, net(batch.frames[:, :1]).state, batch.frames[:, 1:4], objective._truth(net, batch, False, 1, 4)
    )
    streamed = net(batch.frames[:, :4]).state
    assert advanced is not None
    for ours, theirs in zip(advanced, streamed, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_background_loss_reaches_the_encoder_and_its_decoder() -> None:
    net = small_net(prm=False, brm_threshold=0.0)  # all cells count as background
    objective = MODNetVObjective(net)
    objective(net, clip_batch(2), generator())["background"].backward()
    assert objective.background_decoder is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.background_decoder.parameters())
    assert net.backbone.features[0][0].weight.grad.abs().sum() > 0


def test_without_brm_there_is_no_background_term() -> None:
    net = small_net(brm=False, prm=False)
    objective = MODNetVObjective(net)
    assert objective.background_decoder is None
    assert "background" not in objective(net, clip_batch(4), generator())


def test_arms_with_and_without_brm_start_with_the_same_loss() -> None:
    losses = [
        MODNetVObjective(net, background_weight=0.0)(net, clip_batch(4), generator())["loss"]
        for net in (small_net(prm=False), small_net(prm=False, brm=False))
    ]
    assert torch.equal(losses[0], losses[1])


def test_stage_1_leaves_patch_refinement_to_stage_2() -> None:
    net = small_net(working_size=64)
    assert net.prm is not None
    patches = {id(p) for p in net.prm.parameters()}
    first = MODNetVObjective(net).parameter_groups(net, 0.1)[0]["params"]
    second = PatchRefinementObjective(net).parameter_groups(net, 0.1)[0]["params"]
    assert not patches & {id(p) for p in first}
    assert patches == {id(p) for p in second}


def test_stage_2_changes_nothing_but_patch_refinement() -> None:
    net = small_net(working_size=64).train()
    objective = PatchRefinementObjective(net)
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD(objective.parameter_groups(net, 0.1)[0]["params"], lr=0.1)
    for step in range(2):  # the refiner's last layer starts at zero: what lies before it moves at the second step
        objective.before_step(net, step)
        optimizer.zero_grad()
        terms = objective(net, clip_batch(3, size=128), generator())
        terms["loss"].backward()
        optimizer.step()
    changed = {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"prm"}


def test_stage_2_trains_at_most_the_given_number_of_patches() -> None:
    net = small_net(working_size=64)
    objective = PatchRefinementObjective(net, max_patches=7)
    wanted = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    assert int(objective._select(wanted, generator()).sum()) == 7


def test_stage_2_refuses_frames_that_need_no_refinement() -> None:
    net = small_net(working_size=64)
    with pytest.raises(ValueError, match="working_size=64"):
        PatchRefinementObjective(net)(net, clip_batch(2, size=64), generator())


def test_stage_2_needs_a_prm() -> None:
    with pytest.raises(ValueError, match=r"model\.prm"):
        PatchRefinementObjective(small_net(prm=False))


def test_training_frames_must_fit_the_semantic_grid() -> None:
    net = small_net(prm=False)
    with pytest.raises(ValueError, match="multiples of 32"):
        MODNetVObjective(net)(net, clip_batch(1, size=80), generator())


@pytest.mark.slow
def test_modnet_overfits_one_clip() -> None:
    net = build_net("modnet", width=0.25, hidden=8)
    net.reset_parameters(0)
    objective = MODNetObjective(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    batch = clip_batch(1, num_clips=1)
    losses = []
    for _ in range(16):
        optimizer.zero_grad()
        terms = objective(net, batch, generator())
        terms["loss"].backward()
        optimizer.step()
        losses.append(float(terms["loss"].detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_soc_adapts_the_net_and_neither_its_statistics_nor_its_teacher() -> None:
    net = build_net("modnet", width=0.25, hidden=8).train()
    objective = SOCObjective(net, refresh_every=10)
    taught = copy.deepcopy(objective.teacher.state_dict())
    mean = net.backbone.features[0][1].running_mean.clone()
    optimizer = torch.optim.Adam([p for g in objective.parameter_groups(net, 0.01) for p in g["params"]], lr=1e-2)
    for step in range(2):
        net.train()
        objective.before_step(net, step)
        optimizer.zero_grad()
        objective(net, clip_batch(1), generator())["loss"].backward()
        optimizer.step()
    assert torch.equal(mean, net.backbone.features[0][1].running_mean)
    assert all(torch.equal(value, taught[name]) for name, value in objective.teacher.state_dict().items())
    assert any(not torch.equal(value, taught[name]) for name, value in net.state_dict().items())
    objective.before_step(net, 10)
    assert all(torch.equal(value, objective.teacher.state_dict()[name]) for name, value in net.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["global", "dense", "oracle"])
@pytest.mark.parametrize("backprop_frames", [1, 3])
def test_a_moving_memory_trains(motion: str, backprop_frames: int) -> None:
    net = with_prior(small_net(prm=False, motion=motion, brm_threshold=0.0)).train()
    objective = MODNetVObjective(net, backprop_frames=backprop_frames)
    batch = clip_batch(5)
    if net.needs_flow:
        with pytest.raises(ValueError, match=r"data\.flow=true"):
            objective(net, batch, generator())
        batch.flow = torch.full((2, 5, 2, 64, 64), 4.0)
    objective(net, batch, generator())["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_the_true_flow_of_each_frame_reaches_the_memory() -> None:
    net = with_prior(small_net(prm=False, motion="oracle", brm_threshold=0.0)).train()
    batch = clip_batch(4)
    losses = set()
    for moving in (None, 1, 2, 3):  # the first frame's flow leads nowhere
        batch.flow = torch.zeros(2, 4, 2, 64, 64)
        if moving is not None:
            batch.flow[:, moving] = 16.0
        with torch.no_grad():
            losses.add(float(MODNetVObjective(net, background_weight=0.0)(net, batch, generator())["loss"]))
    assert len(losses) == 4


def test_stage_2_moves_the_memory_too() -> None:
    net = small_net(working_size=64, motion="oracle")
    objective = PatchRefinementObjective(net)
    objective.before_step(net, 0)
    batch = clip_batch(3, size=128)
    batch.flow = torch.full((2, 3, 2, 128, 128), 4.0)
    assert objective(net, batch, generator())["loss"].isfinite()


def test_an_estimator_of_motion_is_not_trained() -> None:
    net = small_net(prm=False, motion="dense", flow="raft_small")
    trained = {id(p) for p in MODNetVObjective(net).parameter_groups(net, 0.1)[0]["params"]}
    assert net.motion is not None
    assert trained.isdisjoint(id(p) for p in net.motion.parameters())


@pytest.mark.parametrize("mask", ["semantic", "matte"])
def test_a_true_memory_holds_what_the_true_alpha_shows_in_training_alone(mask: str) -> None:
    net = with_prior(small_net(prm=False, semantic_scale=1.0, brm_mask=mask, brm_threshold=0.9))
    batch, seen, step = clip_batch(3), [], net.step

    def watched(frame: Tensor, *memory: Tensor) -> tuple[Tensor | None, ...]:
        seen.append(memory)
        return step(frame, *memory)

    net.step = watched  # type: ignore[method-assign]
    MODNetVObjective(net, true_memory=True)(net, batch, generator())
    person = nn.functional.avg_pool2d(batch.alpha[:, 0], 4)
    assert torch.equal(seen[-1][1], (person < 0.1).float())
    seen.clear()
    net.eval()
    net(batch.frames)
    assert all(len(memory) == 3 for memory in seen)


def test_a_memory_is_told_the_truth_in_as_many_steps_as_asked_and_a_step_is_of_one_kind() -> None:
    net = small_net(prm=False, brm_mask="matte")
    objective, batch, told, number = MODNetVObjective(net, true_memory=0.25), clip_batch(3), 0, 64
    for seed in range(number):
        with patch.object(objective, "_truth", wraps=objective._truth) as truth:
            objective(net, batch, torch.Generator().manual_seed(seed))
        kinds = {call.args[2] for call in truth.call_args_list}
        assert len(kinds) == 1
        told += kinds.pop()
    assert 0.1 < told / number < 0.4


def test_a_true_memory_gives_way_to_the_own_one_step_by_step_wherever_training_goes_on() -> None:
    net = small_net(prm=False, brm_mask="matte")
    objective = MODNetVObjective(net, true_memory=True, true_memory_steps=8)
    shares = {}
    for step in (0, 2, 4, 7, 8, 20, 4):  # the last as after a resumption
        objective.before_step(net, step)
        shares[step] = sum(objective._tells_memory(torch.Generator().manual_seed(seed)) for seed in range(200)) / 200
    assert shares[0] == 1
    assert shares[8] == shares[20] == 0
    assert 0.65 < shares[2] < 0.85
    assert 0.4 < shares[4] < 0.6
    assert 0.05 < shares[7] < 0.2


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_true_memories_beyond_all_steps_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"true_memory must be true, false or a share in \[0, 1\], got"):
        MODNetVObjective(small_net(prm=False), true_memory=share)


def test_an_objective_gives_the_true_alpha_to_a_net_that_needs_it() -> None:
    terms = MODNetVObjective(net := small_net(prm=False, brm_mask="truth"))(net, clip_batch(4), generator())
    assert terms["loss"].isfinite()


@pytest.mark.parametrize("plate", ["true", "first"])
def test_an_oracle_is_trained_on_the_plate_that_it_is_asked_to_be(plate: Literal["true", "first"]) -> None:
    net = with_prior(small_net(prm=False, brm="oracle"))
    batch, losses = clip_batch(3), []
    for place in (0, 2):  # another background of the first frame, of the last one
        other = batch.background.clone()
        other[:, place] = 1 - other[:, place]
        losses.append(
            MODNetVObjective(net, background_weight=0, plate=plate)(net, replace(batch, background=other), generator())[
                "loss"
            ]
        )
    plain = MODNetVObjective(net, background_weight=0, plate=plate)(net, batch, generator())["loss"]
    assert losses[0] != plain
    assert (losses[1] == plain) == (plate == "first")
