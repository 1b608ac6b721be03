"""BackgroundMattingV2's objectives: what each phase trains, which plate it shows, and that the loss falls."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.batch import MattingBatch
from lightning_modules import losses
from lightning_modules.module import MattingModule, Recipe
from lightning_modules.nets import build_net
from lightning_modules.nets.background_matting import BackgroundMattingV2
from lightning_modules.objectives.background_matting import BackgroundMattingBaseObjective, BackgroundMattingObjective
from lightning_modules.objectives.segmentation import SegmentationObjective
from tests.batches import disc, tiny_batch

RATES = {"backbone": 1e-4, "aspp": 5e-4, "decoder": 5e-4}


def clip_batch(num_frames: int = 1, size: int = 64, num_clips: int = 2) -> MattingBatch:
    draw = torch.Generator().manual_seed(num_frames)
    coarse = torch.rand(2, num_clips * num_frames, 3, size // 8, size // 8, generator=draw)
    foreground, background = (
        F.interpolate(each, (size, size), mode="bilinear").unflatten(0, (num_clips, num_frames)) for each in coarse
    )
    return tiny_batch(disc(size).expand(num_clips, num_frames, 1, -1, -1).contiguous(), foreground, background)


def small_net(**options: object) -> BackgroundMattingV2:
    net = build_net(
        "background_matting_v2",
        **{"backbone": "mobilenetv2", "width": 0.25, "backbone_scale": 0.5, "refine_share": 0.25} | options,
    )
    assert isinstance(net, BackgroundMattingV2)
    net.reset_parameters(0)
    with torch.no_grad():
        net.decoder.conv4.bias[4] = 0.2  # some cells have an error
        net.decoder.conv4.bias[0] = 0.5
    return net.train()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def without_gradient(net: BackgroundMattingV2) -> set[str]:
    return {name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()}


def test_the_first_phase_trains_all_but_the_refiner() -> None:
    net = small_net()
    objective = BackgroundMattingBaseObjective(net)
    objective(net, clip_batch(), generator())["loss"].backward()
    assert without_gradient(net) == {name for name, _ in net.named_parameters() if name.startswith("refiner.")}
    trained = {id(p) for group in objective.parameter_groups(net, 1e-3) for p in group["params"]}
    assert trained == {id(p) for name, p in net.named_parameters() if not name.startswith("refiner.")}


def test_the_second_phase_trains_all() -> None:
    net = small_net()
    objective = BackgroundMattingObjective(net)
    terms = objective(net, clip_batch(), generator())
    terms["loss"].backward()
    assert without_gradient(net) == set()
    weighted = sum(value for name, value in terms.items() if name not in ("loss", "refined_share"))
    torch.testing.assert_close(terms["loss"], weighted)
    assert len(terms) == 2 + 3 + 3 + 1


def test_each_part_has_the_published_rate() -> None:
    net = small_net()
    recipe = Recipe(BackgroundMattingBaseObjective(net), optimizer="adam", learning_rate=RATES)
    assert [group["lr"] for group in recipe.make_optimizer(net).param_groups] == [1e-4, 5e-4, 5e-4]
    rates = {"backbone": 5e-5, "aspp": 5e-5, "decoder": 1e-4, "refiner": 3e-4}
    recipe = Recipe(BackgroundMattingObjective(net), optimizer="adam", learning_rate=rates)
    optimizer = recipe.make_optimizer(net)
    assert [group["lr"] for group in optimizer.param_groups] == list(rates.values())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize("phase", [BackgroundMattingBaseObjective, BackgroundMattingObjective])
def test_the_loss_falls_on_one_batch(phase: type) -> None:
    net = small_net(clamp_gradient="inward")
    objective, batch = phase(net, plate="true"), clip_batch()
    optimizer = Recipe(objective, optimizer="adamw", learning_rate=3e-3).make_optimizer(net)
    values = []
    for _ in range(10):
        loss = objective(net, batch, generator())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert min(values[-3:]) < 0.6 * values[0]


@pytest.mark.parametrize(("plate", "frames_equal"), [("true", True), ("first", True), ("perturbed", False)])
def test_the_plate_is_the_one_that_is_asked_for(plate: str, frames_equal: bool) -> None:
    net, batch = small_net(), clip_batch(3)
    always = {"shadow_share": 1.0, "noise_share": 1.0, "jitter_share": 1.0, "misalignment_share": 1.0}
    objective = BackgroundMattingBaseObjective(net, plate=plate, augmentation=always)  # type: ignore[arg-type]
    frames, shown = objective.images(batch, generator())
    assert torch.equal(frames, batch.frames) == frames_equal
    if plate == "first":
        assert torch.equal(shown, batch.background[:, :1])
    else:
        assert torch.equal(shown, batch.background) == (plate == "true")
    again = objective.images(batch, generator())
    assert torch.equal(again[0], frames)
    assert torch.equal(again[1], shown)
    objective(net, batch, generator())["loss"].backward()


def test_frames_of_any_size_are_cut_to_whole_cells() -> None:
    net, batch = small_net(), clip_batch(size=64)
    layers = (batch.alpha, batch.foreground, batch.background)
    odd, even = (tiny_batch(*(each[..., :height, :width] for each in layers)) for height, width in ((47, 62), (44, 60)))
    objective = BackgroundMattingObjective(net, plate="true")
    net.aspp.project[3].p = 0.0
    with torch.no_grad():
        torch.testing.assert_close(objective(net, odd, generator())["loss"], objective(net, even, generator())["loss"])


def test_what_the_objectives_cannot_train_is_refused_in_one_line() -> None:
    net = small_net()
    for options, message in (
        ({"plate": "last"}, "plate must be one of true, first, perturbed"),
        ({"augmentation": {"shadows": 1}}, "augmentation: .*shadows"),
    ):
        with pytest.raises(ValueError, match=message):
            BackgroundMattingObjective(net, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs model=background_matting_v2"):
        BackgroundMattingObjective(build_net("lraspp"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a refiner"):
        BackgroundMattingObjective(small_net(refine_mode="none"))
    with pytest.raises(ValueError, match="two frames at least"):
        BackgroundMattingBaseObjective(net)(net, clip_batch(num_clips=1), generator())


def by_hand(error: Tensor, alpha: Tensor, truth: Tensor) -> Tensor:
    return (error - (alpha - truth).abs()).square().mean()


def test_error_map_loss_detaches_its_target_unless_told() -> None:
    error, alpha, truth = torch.rand(3, 2, 1, 8, 8, generator=generator())
    for detach in (True, False):
        leaf = alpha.clone().requires_grad_()
        guess = error.clone().requires_grad_()
        loss = losses.error_map_loss(guess, leaf, truth, detach)
        torch.testing.assert_close(loss, by_hand(error, alpha, truth))
        loss.backward()
        assert guess.grad is not None
        assert (leaf.grad is None) == detach


def test_sobel_of_a_ramp_is_its_slope() -> None:
    ramp = (0.1 * torch.arange(6.0)).expand(1, 1, 5, 6)
    expected = torch.full((1, 1, 5, 6), (0.1**2 + 1e-6) ** 0.5)
    # At the repeated border the ramp rises half as fast.
    expected[..., [0, -1]] = (0.05**2 + 1e-6) ** 0.5
    torch.testing.assert_close(losses.sobel(ramp), expected)


def test_foreground_counts_where_alpha_is_not_zero_but_the_mean_is_over_all() -> None:
    alpha = torch.tensor([0.0, 0.0, 0.5, 1.0]).view(1, 1, 1, 4)
    terms = losses.matte_and_foreground_terms(alpha, torch.ones(1, 3, 1, 4), alpha, torch.zeros(1, 3, 1, 4))
    assert terms["alpha"] == 0
    assert terms["gradient"] == 0
    assert terms["foreground"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("lraspp", {}), ("deeplabv3", {"backbone": "mobilenetv3"})])
def test_segmentation_learns_a_batch(name: str, options: dict[str, str]) -> None:
    net = build_net(name, **options).train()
    net.reset_parameters(0)
    objective, batch = SegmentationObjective(net), clip_batch()
    optimizer = Recipe(objective, optimizer="adamw", learning_rate=2e-3).make_optimizer(net)
    values = []
    for _ in range(4):
        loss = objective(net, batch, generator())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.5 * values[0]


def test_a_training_step_depends_on_its_number_and_not_on_what_was_drawn_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = small_net()  # its ASPP has dropout
    module = MattingModule(net, Recipe(BackgroundMattingObjective(net), seed=3))
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    values = []
    for drawn in range(2):
        torch.rand(drawn)
        values.append(float(module.training_step(clip_batch(), 7)["loss"].detach()))
    assert values[0] == values[1]
    assert float(module.training_step(clip_batch(), 8)["loss"].detach()) != values[0]
