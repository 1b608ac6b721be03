"""The loop that all models share: schedule, optimisers, bad losses, trainer options that must work."""

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.batch import MattingBatch
from lightning_modules.module import MattingModule, NonFiniteLossError, Recipe
from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet
from lightning_modules.objectives.interface import Objective
from lightning_modules.objectives.modnet_v import MODNetVObjective
from tests.batches import tiny_batch


def clip(seed: int, num_frames: int = 3, size: int = 64) -> MattingBatch:
    draw = torch.Generator().manual_seed(seed)
    foreground, background = torch.rand(2, 2, num_frames, 3, size, size, generator=draw)
    alpha = (torch.rand(2, num_frames, 1, size, size, generator=draw) > 0.5).float()
    return tiny_batch(alpha, foreground, background)


def loader(num_batches: int = 4) -> DataLoader[MattingBatch]:
    return DataLoader([clip(seed) for seed in range(num_batches)], batch_size=None)  # type: ignore[arg-type]


def small_module(**recipe: object) -> MattingModule:
    net = build_net("modnet_v", width=0.25, hidden=8, prm=False)
    net.reset_parameters(0)
    return MattingModule(net, Recipe(MODNetVObjective(net), **recipe))  # type: ignore[arg-type]


def fit(module: MattingModule, **options: object) -> pl.Trainer:
    settings: dict[str, object] = {
        "max_steps": 4,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    trainer = pl.Trainer(**(settings | options))  # type: ignore[arg-type]
    trainer.fit(module, loader(), DataLoader([clip(9)], batch_size=None))  # type: ignore[arg-type]
    return trainer


def test_training_changes_the_net_and_validation_gives_the_papers_metrics() -> None:
    module = small_module()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trainer = fit(module)
    assert any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert {"val/mad", "val/mse", "val/dtssd"} <= trainer.callback_metrics.keys()
    assert 0 < float(trainer.callback_metrics["val/mad"]) <= 1000


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2, "max_steps": 2}])
def test_trainer_options_work(options: dict[str, object]) -> None:
    module = small_module()
    assert fit(module, **options).global_step == options.get("max_steps", 4)
    assert all(parameter.isfinite().all() for parameter in module.parameters())


class FirstMatte(Objective):
    """A loss that is linear in the weight, so that its gradient is known."""

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": (net.weight * batch.frames.mean()).sum()}  # type: ignore[operator]


class Scalar(MattingNet):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize(("warmup", "num_steps"), [(0.3, 50), (0.1, 7), (0.3, 4)])
def test_onecycle_is_pytorchs(warmup: float, num_steps: int) -> None:
    recipe = Recipe(Objective(), schedule="onecycle", warmup=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=num_steps, pct_start=warmup, cycle_momentum=False
    )
    for step in range(num_steps):
        assert recipe.rate(step, num_steps) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if step < num_steps - 1:
            theirs.step()


def test_accumulated_batches_give_the_mean_gradient() -> None:
    net = Scalar()
    module = MattingModule(net, Recipe(FirstMatte(), learning_rate=1.0, momentum=0.0))
    trainer = pl.Trainer(
        max_steps=1,
        max_epochs=1,
        accumulate_grad_batches=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(4))
    expected = -torch.stack([clip(seed).frames.mean() for seed in range(4)]).mean()
    assert torch.allclose(net.weight.detach(), expected)


def test_the_rate_rises_falls_at_milestones_and_follows_the_cosine() -> None:
    steps = Recipe(Objective(), milestones=(0.5, 0.75), warmup=0.25)
    assert [round(steps.rate(step, 8), 3) for step in range(8)] == [0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    cosine = Recipe(Objective(), schedule="cosine")
    assert cosine.rate(0, 100) == pytest.approx(1, abs=0.01)
    assert cosine.rate(50, 100) == pytest.approx(0.5, abs=0.01)
    assert cosine.rate(100, 100) == pytest.approx(0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_each_optimiser_takes_the_recipes_numbers(optimizer: str) -> None:
    module = small_module(optimizer=optimizer, learning_rate=0.02, weight_decay=0.1)
    group = module.recipe.make_optimizer(module.net).param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.1)


def test_unknown_schedule_is_told() -> None:
    with pytest.raises(ValueError, match="step, cosine or onecycle, got 'cosin'"):
        Recipe(Objective(), schedule="cosin")  # type: ignore[arg-type]


def test_unknown_optimiser_is_told() -> None:
    with pytest.raises(ValueError, match="optimizer must be sgd, adam or adamw, got 'lamb'"):
        small_module(optimizer="lamb")


class BadLoss(Objective):
    """NaN from the third step on."""

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        self.calls = getattr(self, "calls", 0) + 1
        loss = net(batch.frames).alpha.mean()
        return {"loss": loss * float("nan") if self.calls > 2 else loss, "matte": loss}


def test_a_loss_that_is_not_finite_ends_training_with_step_and_clips() -> None:
    net = build_net("modnet_v", width=0.25, hidden=8, prm=False)
    with pytest.raises(NonFiniteLossError, match=r"nan at step 2 \(terms: loss; clips: clip 0, clip 1\)"):
        fit(MattingModule(net, Recipe(BadLoss())))


def test_random_choices_of_a_step_depend_on_seed_and_step_alone() -> None:
    drawn: list[tuple[int, ...]] = []

    class Watch(Objective):
        def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
            drawn.append(tuple(torch.randint(100, (3,), generator=generator).tolist()))
            return {"loss": net(batch.frames[:, :1]).alpha.mean()}

    for seed in (0, 0, 1):
        net = build_net("modnet_v", width=0.25, hidden=8, prm=False)
        fit(MattingModule(net, Recipe(Watch(), seed=seed)))
    assert drawn[:4] == drawn[4:8]
    assert drawn[:4] != drawn[8:]
    assert len(set(drawn[:4])) == 4


class TwoParts(MattingNet):
    """An encoder and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head, self.refiner = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)


def test_parts_of_a_net_get_rates_of_their_own_and_rate_zero_is_not_trained() -> None:
    net = TwoParts()
    groups = Objective().parameter_groups(net, {"backbone": 1e-4, "refiner": 0, "rest": 2e-4})
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rates == {
        id(parameter): 1e-4 if part is net.backbone else 2e-4
        for part in (net.backbone, net.head)
        for parameter in part.parameters()
    }


def test_a_part_frozen_in_one_stage_is_trained_in_the_next() -> None:
    net = TwoParts()
    for rate, trains in ((0.0, False), (1e-3, True)):
        MattingModule(net, Recipe(Objective(), learning_rate={"refiner": rate, "rest": 1e-4})).setup("fit")
        assert net.refiner.weight.requires_grad is trains


def test_a_rate_for_a_part_that_this_net_goes_without_is_passed_over() -> None:
    net = TwoParts()
    net.refiner = None  # type: ignore[assignment]
    (group,) = Objective().parameter_groups(net, {"refiner": 0.1, "rest": 0.2})
    assert (group["lr"], len(group["params"])) == (0.2, 4)


@pytest.mark.parametrize(
    ("rates", "message"),
    [({"bckbone": 1e-4, "rest": 1e-4}, "learning_rate names bckbone"), ({"backbone": 1e-4}, "add rest")],
)
def test_rates_that_do_not_fit_the_net_are_refused(rates: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective().parameter_groups(TwoParts(), rates)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"learning_rate": "fast"}, "learning_rate must be a number from 0 on, or one a part, got 'fast'"),
        ({"learning_rate": -0.1}, "learning_rate must be a number from 0 on"),
        ({"learning_rate": {"rest": None}}, "learning_rate must be a number from 0 on"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number from 0 on"),
        ({"momentum": 2}, "momentum must be a number from 0 to 1, got 2"),
        ({"weight_decay": "none"}, "weight_decay must be a number from 0 to inf, got 'none'"),
        ({"warmup": -1}, "warmup must be a number from 0 to 1, got -1"),
        ({"milestones": 0.5}, "milestones must be a list of shares"),
        ({"milestones": ["half"]}, "milestones must be a list of shares"),
        ({"schedule": "linear"}, "schedule must be step, cosine or onecycle"),
    ],
)
def test_a_recipe_of_nonsense_is_told_by_its_setting(options, told):
    with pytest.raises(ValueError, match="must be") as refused:
        Recipe(Objective(), **options)
    assert told in str(refused.value)
