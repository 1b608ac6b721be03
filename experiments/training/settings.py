"""The settings of a cell with their types: read once from the composed config, refused where no run could use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Literal, Self, TypeVar

from experiments.logging.settings import Logger
from experiments.records.identity import config_hash
from lightning_modules.options import From, check_names, check_options

Count = Annotated[int, From(1)]
Side = Annotated[int, From(32)]
Seed = Annotated[int, From(0)]
Made = TypeVar("Made")
# Of a setting that cannot change a cell's numbers: it is in no hash and no name of one. True, or, of a mapping, which
# of those in it.
FREE = "without effect"


def read(kind: type[Made], place: str, given: Any) -> Made:
    """A group of the config as the dataclass that it is.

    Args:
        kind: a dataclass.
        place: of the group in the config, for messages.
        given: its settings, plain.

    Raises:
        ValueError: a setting is missing, not known, of another type or out of its range; names it.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{place} must be a mapping, setting: value, got {given!r}")
    known = {each.name: each.default is MISSING for each in fields(kind)}  # type: ignore[arg-type]
    check_names(place, map(str, given), known)
    if missing := [name for name, needed in known.items() if needed and name not in given]:
        raise ValueError(f"{place}.{missing[0]} is missing")
    try:
        check_options(kind, given)
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{place}.{error}") from None


@dataclass(frozen=True)
class Trainer:
    """Config group `trainer`, where each setting is explained: where and how a cell computes."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda"]
    devices: Count
    num_nodes: Count
    strategy: str
    sync_batchnorm: bool
    calibration_batches: Seed
    precision: Literal[
        "32-true", "16-mixed", "bf16-mixed", "16", "16-true", "bf16", "bf16-true", "32", "64", "64-true", 16, 32, 64
    ]
    accumulate_grad_batches: Count
    compile: bool
    channels_last: bool
    threads: Count
    num_workers: Seed | Literal["auto"] = field(metadata={FREE: True})
    device_compositing: bool
    checkpoint_every: Count = field(metadata={FREE: True})
    validate_every: Count


@dataclass(frozen=True)
class Pass:
    """One kind of batch that a stage trains on.

    Attributes:
        data: of what.
        batch_size: clips, of all devices together.
        size: pixels, of both sides or (height, width).
        clip_length: T, or (fewest, most); None where there are pictures.
        options: further arguments of its data module.
    """

    data: Literal["matting", "segmentation.video", "segmentation.image"]
    batch_size: Count
    size: Side | Sequence[Side]
    clip_length: Count | Sequence[Count] | None = None
    options: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, place: str, given: Any) -> Self:
        """From its settings; those that are none of these go to `options`. Raises as `read` does."""
        if not isinstance(given, Mapping):
            raise ValueError(f"{place} must be null or the settings of a pass, got {given!r}")
        own = {each.name for each in fields(cls)} - {"options"}
        rest = {name: value for name, value in given.items() if name not in own}
        return read(cls, place, {name: given[name] for name in given if name in own} | {"options": rest})

    @property
    def arguments(self) -> dict[str, Any]:
        """What its data module is given."""
        length = {} if self.clip_length is None else {"clip_length": self.clip_length}
        return {"batch_size": self.batch_size, "size": self.size, **length, **(self.options or {})}


@dataclass(frozen=True)
class Trunk:
    """The first part of a stage that arms share: see `experiments.training.trunk`.

    Attributes:
        share: of the stage's steps.
        model: options of the net that the trunk is trained with, in place of the arm's; what they leave out of the net
            starts as it was drawn.
    """

    share: Annotated[float, From(0, 1)]
    model: Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe.

    Attributes:
        objective: its name and options.
        steps: of the optimiser.
        passes: kinds of batches by name; a stage of one kind has that alone, called "".
        order: names of the passes that take turns, an optimiser step each; empty for a stage of one kind.
        average_decay: of the moving average of the weights; None keeps none.
        trunk: its first part, trained once a seed for all arms; None: each arm trains the whole.
        gradient_clip_norm, gradient_clip_value: of all gradients together, or of each element; None clips nothing.
        others: see `lightning_modules.module.Recipe`.
    """

    objective: Mapping[str, Any]
    steps: Count
    passes: Mapping[str, Pass]
    optimizer: str
    learning_rate: float | Mapping[str, Any]
    momentum: float
    weight_decay: float
    schedule: str
    milestones: Sequence[float]
    gamma: float
    warmup: float
    order: Sequence[str] = ()
    average_decay: Annotated[float, From(0, 1)] | None = None
    gradient_clip_norm: float | None = None
    gradient_clip_value: float | None = None
    trunk: Trunk | None = None

    @classmethod
    def of(cls, place: str, given: Any) -> Self:
        """From its settings, which hold `passes` and their `order`, or those of its one pass beside its own.

        Raises:
            ValueError: see `read`, and the order names a pass that is not there.
        """
        if not isinstance(given, Mapping):
            raise ValueError(f"{place} must be null or the settings of a stage, got {given!r}")
        of_pass = {each.name for each in fields(Pass)} - {"data", "options"}
        own = {name: value for name, value in given.items() if name not in of_pass}
        if own.get("trunk") is not None:
            own["trunk"] = read(Trunk, f"{place}.trunk", own["trunk"])
        if "passes" not in given:
            batch = {name: value for name, value in given.items() if name not in own}
            return read(cls, place, own | {"passes": {"": Pass.of(place, {"data": "matting", **batch})}})
        passes = {
            name: Pass.of(f"{place}.passes.{name}", each) for name, each in given["passes"].items() if each is not None
        }
        return read(cls, place, own | {"passes": passes})


@dataclass(frozen=True)
class Settings:
    """All that a cell is made by.

    Attributes:
        seed: of initial weights, data order and every random choice of training.
        model: name and options of the net, and `pretrained`.
        data: config group `data`, plain: its settings have their types in the constructors of data module, sources and
            `Difficulty`, which check them; what else stands there is named to be used within the group.
        segmentation: the data of segmentation passes.
        stages: of the recipe, by name; those that are switched off are left out.
        trainer: where and how it computes.
        test: how the trained net is run, see `experiments.inference.streaming.Streaming`.
        logger: what it is logged to.
    """

    seed: Seed
    model: Mapping[str, Any]
    data: Mapping[str, Any] = field(metadata={FREE: "cache_dir"})
    segmentation: Mapping[str, Any] = field(metadata={FREE: "cache_dir"})
    stages: Mapping[str, Stage]
    trainer: Trainer
    test: Mapping[str, Any]
    logger: Logger = field(metadata={FREE: True})

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """From a cell's resolved config, plain. Data, net and objective are checked where they are made.

        Raises:
            ValueError: see `read`.
        """
        stages = {
            name: Stage.of(f"recipe.stages.{name}", stage)
            for name, stage in config["recipe"]["stages"].items()
            if stage is not None
        }
        made: dict[str, Any] = {
            "stages": stages,
            "trainer": read(Trainer, "trainer", config["trainer"]),
            "logger": read(Logger, "logger", config["logger"]),
        }
        plain = {each.name: config[each.name] for each in fields(cls) if each.name not in made}
        check_options(cls, plain)
        return cls(**plain, **made)


WITHOUT_EFFECT = frozenset(
    each.name if told is True else told
    for kind in (Settings, Trainer, Stage, Pass)
    for each in fields(kind)
    if (told := each.metadata.get(FREE))
)


def has_effect(setting: str) -> bool:
    """Whether a cell's numbers can depend on a setting of its config.

    >>> has_effect("trainer.threads"), has_effect("trainer.num_workers"), has_effect("data.source.train.cache_dir")
    (True, False, False)
    """
    return WITHOUT_EFFECT.isdisjoint(setting.split("."))


def settings_hash(config: Mapping[str, Any]) -> str:
    """Hash of those settings of a cell's resolved config that its numbers depend on."""
    return config_hash(effective(config))


def effective(settings: Any) -> Any:
    """A config, or any part of one, without the settings that cannot change a cell's numbers."""
    if not isinstance(settings, Mapping):
        return settings
    return {name: effective(value) for name, value in settings.items() if name not in WITHOUT_EFFECT}
