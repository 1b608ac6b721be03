"""Every experiment composes, says what it asks, and its cells train, test and record at the smallest scale."""

from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import experiments
from experiments.benchmarks import cost
from experiments.benchmarks.cost import measure_cost
from experiments.cells.cell import Cell, move_stale_aside
from experiments.cells.work import run_cell
from experiments.records.cell_record import CellRecord
from experiments.training.checks import check_parts
from experiments.training.settings import FREE, Trainer
from lightning_modules.nets import NETS, all_options, build_net
from tests.experiments.cells_on_disk import complete
from tests.made_once import shared_folder

CONFIGS = Path(experiments.__file__).parent / "configs"
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "exp").glob("*.yaml"))
TRAINED = [name for name in EXPERIMENTS if not name.startswith("published_")]  # the others: test_published.py
PROMISED = {
    *("brm_ablation", "brm_update", "background_loss", "backbone_width", "prm_grid", "background_dynamics"),
    *("flow_network", "context_motion_operator", "context_motion_backbone"),
}
# Of one config with the other: what differs is the axis of their arms.
ALIKE = {
    "background_loss": "brm_update",
    "recurrence": "backbone_type",
    "context_motion_operator": "context_motion_backbone",
}
SMALLEST = (
    *("scale=smoke", "logger=none", "scale.test_clips=1", "scale.test_frames=2", "scale.val_clips=1"),
    *("scale.train_clips=2", "scale.train_scenes=2", "scale.train_clip_frames=4"),
    *("scale.steps=2", "scale.modnet_steps=2", "trainer.calibration_batches=1"),
)

# Of each setting of the trainer, another value than the default.
OTHERS = {
    **dict.fromkeys(("devices", "num_nodes", "accumulate_grad_batches", "threads", "num_workers"), 2),
    **dict.fromkeys(("calibration_batches", "checkpoint_every", "validate_every"), 7),
    **dict.fromkeys(("compile", "device_compositing"), "true"),
    **dict.fromkeys(("sync_batchnorm", "channels_last"), "false"),
    **{"accelerator": "cpu", "strategy": "ddp", "precision": "bf16-mixed"},
}


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """The setting of a cache that cells share; each cell is trained in a folder of its own, its cost timed once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "measure_cost", lambda net, frame, _, run: measure_cost(net, frame, 1, run))
    return f"data.cache_dir={shared_folder(tmp_path_factory) / 'cache'}"


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return config


def cell_of(*overrides: str, axes: tuple[str, ...] = ()) -> Cell:
    return _cell(composed(*overrides), axes)


def smallest_cell(*overrides: str) -> Cell:
    """Of the conditions of its test the first and the last, between which only numbers differ."""
    config = composed(*SMALLEST, *overrides)
    strata = OmegaConf.to_container(config.data.test_strata)
    config.data.test_strata = {name: strata[name] for name in (min(strata), max(strata))}
    return _cell(config)


def _cell(config: DictConfig, axes: tuple[str, ...] = ()) -> Cell:
    plain = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return Cell(plain, HydraConfig.get(), axes)


def test_the_promised_experiments_exist() -> None:
    assert set(EXPERIMENTS) >= PROMISED


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_asks_a_question_of_several_arms_and_seeds(name: str) -> None:
    config = composed(f"+exp={name}")
    experiment, params = config.experiment, config.hydra.sweeper.params
    assert experiment.name == name
    assert experiment.question
    assert experiment.baseline
    assert bool(experiment.claim) == bool(experiment.source)
    # Trials choose by the validation clips and have no verdict.
    fewest = 2 if name.endswith("learning_rates") else 3
    assert len(str(params.seed).split(",")) >= (fewest if config.recipe.stages else 1)
    assert set(experiment.baseline) <= {
        key for key in params if key != "seed"
    }  # of what it does not name each has its own
    for axis, value in experiment.baseline.items():
        values = [yaml.safe_load(each) for each in str(params[axis]).split(",")]
        assert value in values
        # The groups `memory` and `clips` have no keys of their own: they set those of model and recipe.
        assert axis in ("memory", "clips") or OmegaConf.select(config, axis, throw_on_missing=True) is not None


@pytest.mark.parametrize("name", TRAINED)
def test_every_value_of_every_axis_makes_a_cell_that_is_let_start(name: str) -> None:
    axes = dict(composed(f"+exp={name}").hydra.sweeper.params)
    first = {axis: str(values).split(",")[0] for axis, values in axes.items()}
    for axis, values in axes.items():
        for value in str(values).split(","):
            arm = [f"{each}={one}" for each, one in {**first, axis: value}.items()]
            check_parts(cell_of(f"+exp={name}", "logger=none", *arm).settings)


@pytest.mark.parametrize("net", NETS)
def test_a_default_that_a_model_file_shows_is_the_constructors(net: str) -> None:
    """They stand there to be seen and overridden without +; what a scale decides is an interpolation."""
    told = yaml.safe_load((CONFIGS / "model" / f"{net}.yaml").read_text(encoding="utf-8"))
    told = {name: value for name, value in told.items() if not str(value).startswith("${")}
    defaults = all_options(told.pop("name"), {}) | {"pretrained": False}
    shown = {name: None if value == {} else value for name, value in told.items()}
    assert shown == {name: list(each) if isinstance(each := defaults[name], tuple) else each for name in told}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "other"), ALIKE.items())
def test_baselines_of_experiments_that_are_alike_are_one_config(name: str, other: str) -> None:
    assert smallest_cell(f"+exp={name}").hash() == smallest_cell(f"+exp={other}").hash()


def run_smallest(*overrides: str) -> CellRecord:
    """A cell that has gone through all its stages to a complete record."""
    cell = smallest_cell(*overrides)
    cell.prepare()
    assert run_cell(cell.config, cell.record()) == 0
    assert cell.is_complete()
    trained = {path.stem for path in (cell.folder / "checkpoints").iterdir()}
    assert trained == {name for name, stage in cell.config["recipe"]["stages"].items() if stage}
    return CellRecord.load(cell.folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINED if name not in (*ALIKE, "flow_network")])
def test_a_cell_of_each_experiment_runs_to_a_complete_record(name: str, place: str) -> None:
    run_smallest(f"+exp={name}", place)


@pytest.mark.slow
def test_a_cell_of_clips_as_rvm_draws_them_runs_to_a_complete_record(place: str) -> None:
    record = run_smallest("model=rvm", "+augment=rvm", "data.augment.rvm.noise_share=1.0", place)
    assert record.read_config()["data"]["augment"]["rvm"]["noise_share"] == 1.0


@pytest.mark.slow
def test_backbone_width_has_modnet_beside_modnet_v(place: str) -> None:
    record = run_smallest("+exp=backbone_width", "model=modnet", "model.width=0.25", place)
    assert record.arm == {"model": "modnet", "model.width": 0.25}
    assert record.read_config()["model"]["name"] == "modnet"


@pytest.mark.slow
@pytest.mark.parametrize(("threshold", "share"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_ends_of_prm_grid_refine_all_and_none(threshold: float, share: float, place: str) -> None:
    record = run_smallest("+exp=prm_grid", f"model.prm_xi={threshold}", place)
    assert (record.read_frames()["refined_share"] == share).all()


@pytest.mark.slow
def test_a_cell_without_an_experiment_runs_to_a_complete_record(place: str) -> None:
    run_smallest("model=modnet", "recipe=modnet_soc", "test.one_frame_delay=true", place)


@pytest.mark.slow
@pytest.mark.parametrize(("flow", "error_of_flow"), [("oracle", (0, 1e-4)), ("none", (0.05, 20))])
def test_cells_of_flow_network_are_scored_by_the_true_one(
    flow: str, error_of_flow: tuple[float, float], place: str
) -> None:
    record = run_smallest("+exp=flow_network", f"model.flow={flow}", place)
    frames = record.read_frames()
    assert (frames["epe"].isna() == (frames["frame"] == 0)).all()
    low, high = error_of_flow
    assert low <= frames["epe"].mean() <= high
    assert record.metrics["epe"] == pytest.approx(frames.groupby("stratum")["epe"].mean().mean())


def test_nets_of_matched_size_have_as_many_parameters_within_three_per_cent() -> None:
    nets = composed("+exp=matched_comparison").hydra.sweeper.params.model.split(",")
    counts = []
    for net in nets:
        options = OmegaConf.to_container(composed("+exp=matched_comparison", f"model={net}").model, resolve=True)
        assert isinstance(options, dict)
        with torch.device("meta"):
            counts.append(sum(parameter.numel() for parameter in build_net(**options).parameters()))
    assert len(nets) == 5
    assert all(count == pytest.approx(4.72e6, rel=0.03) for count in counts)


def test_each_net_has_as_many_trials_of_the_same_rates_and_its_own_rate_lies_within() -> None:
    nets, plates = (
        composed(f"+exp={name}").hydra.sweeper.params for name in ("learning_rates", "plate_learning_rates")
    )
    compared = composed("+exp=model_comparison").hydra.sweeper.params.model.split(",")
    assert {*nets.model.split(","), "background_matting_v2"} == set(compared)
    rates = nets["recipe.stages.matting.learning_rate"]
    assert rates == plates["recipe.stages.base.learning_rate"]
    assert nets.seed == plates.seed
    low, *_, high = map(float, rates.split(","))
    for net in compared:
        for stage in (stage for stage in composed(f"model={net}").recipe.stages.values() if stage):
            assert low <= stage.learning_rate <= high


def test_clips_unlike_those_of_training_are_a_condition_of_segmentation_objective() -> None:
    config = composed("+exp=segmentation_objective")
    training, shifted = config.data.difficulty, config.data.test_strata
    assert shifted["shifted small"].foreground_scale[1] < training.foreground_scale[0]
    assert shifted["shifted colours"].gain > 2 * training.gain
    assert shifted["shifted noise"].noise_std[0] > 2 * training.noise_std[1]
    assert shifted["shifted camouflage"].camouflage[0] > training.camouflage[1]


def test_an_oracle_without_true_flow_ends_before_anything_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = cell_of("model=context_motion", "model.flow=oracle", "scale=smoke", "logger=none")
    cell.prepare()
    record = cell.record()
    assert run_cell(cell.config, record) == 1
    assert record.error.endswith("set data.flow=true")
    assert not Path(cell.config["data"]["cache_dir"]).exists()


def test_a_folder_of_another_config_or_of_none_is_moved_aside_and_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = cell_of("+exp=brm_ablation")
    cell.prepare()
    assert move_stale_aside(cell, print) is None
    (cell.folder / "record.json").write_text("{torn")
    aside = move_stale_aside(cell, print)
    assert aside is not None
    assert (aside / "config.yaml").is_file()
    cell.prepare()
    changed = cell_of("+exp=brm_ablation")
    changed.config["model"]["width"] = 0.75
    again = move_stale_aside(changed, print)
    assert again is not None
    assert again.name.endswith(cell.hash())
    assert not cell.folder.exists()


def test_a_cell_whose_metrics_are_gone_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell = cell_of("+exp=brm_ablation")
    complete(cell)
    assert cell.is_complete()
    (cell.folder / "metrics.parquet").unlink()
    assert not cell.is_complete()


@pytest.mark.parametrize("name", ["metrics.parquet", "config.yaml", "baselines.parquet", "history_matting.csv"])
def test_a_cell_with_a_damaged_file_is_not_complete_and_the_file_is_named(
    make_cell: Callable[..., CellRecord], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(make_cell({"model.brm": True}, 0).folder.parents[1])
    cell = cell_of("+exp=brm_ablation")
    cell.folder = Path("outputs/model.brm=true,seed=0")
    record = CellRecord.load(cell.folder)
    record.config_hash = cell.hash()
    record.save()
    assert cell.is_complete()
    with (cell.folder / name).open("ab") as file:
        file.write(b" ")
    assert not cell.is_complete()
    assert f"damaged   {cell.name}: {cell.folder / name} is damaged or was changed" in capsys.readouterr().out
    cell.prepare()
    assert not CellRecord.load(cell.folder).checksums


def test_an_override_has_one_name_whatever_its_spelling() -> None:
    rate = "recipe.stages.matting.learning_rate"
    assert cell_of(f"{rate}=1e-3").name == cell_of(f"{rate}=0.001").name


def test_a_cell_is_named_for_its_arm_seed_and_overrides_whatever_their_order() -> None:
    one = cell_of("+exp=brm_ablation", "model.brm=false", "seed=3", "data.world=5")
    other = cell_of("+exp=brm_ablation", "data.world=5", "seed=3", "model.brm=false")
    assert one.name == other.name == "data.world=5,model.brm=false,seed=3"
    assert one.hash() == other.hash()
    assert one.folder == Path("outputs/brm_ablation/data.world=5,model.brm=false,seed=3")
    assert one.report == Path("results/brm_ablation/tiny,data.world=5")
    assert one.study == "data.world=5"


@pytest.fixture(scope="module")
def plain() -> Cell:
    return cell_of("+exp=brm_ablation")


def test_where_a_cell_runs_changes_neither_its_name_nor_its_hash(plain: Cell) -> None:
    moved = cell_of(
        "+exp=brm_ablation", "output_dir=/elsewhere", "data.cache_dir=/cache", "logger=none", "trainer.num_workers=2"
    )
    assert plain.name == moved.name == "model.brm=true,seed=0"
    assert plain.hash() == moved.hash()


@pytest.mark.slow
@pytest.mark.parametrize("setting", fields(Trainer), ids=lambda field: field.name)
def test_a_setting_of_the_trainer_says_itself_whether_it_tells_cells_apart(setting: Field[Any], plain: Cell) -> None:
    change = f"trainer.{setting.name}={OTHERS[setting.name]}"
    other = cell_of("+exp=brm_ablation", change)
    told_apart = (plain.name != other.name, plain.hash() != other.hash())
    assert told_apart == (FREE not in setting.metadata,) * 2


@pytest.mark.parametrize(
    "change",
    [
        "model.width=0.75",
        "data.clutter=0.9",
        "recipe.stages.matting.steps=7",
        "trainer.calibration_batches=0",
        "seed=1",
    ],
)
def test_what_changes_the_numbers_changes_the_hash(change: str, plain: Cell) -> None:
    assert cell_of("+exp=brm_ablation", change).hash() != plain.hash()


def test_a_setting_swept_on_the_command_line_is_a_part_of_the_arm() -> None:
    cell = cell_of("+exp=brm_ablation", "model.width=0.75", axes=("model.width",))
    assert cell.arm == {"model.brm": True, "model.width": 0.75}
    assert cell.study == ""


def test_a_name_cannot_leave_the_output_folder() -> None:
    cell = cell_of("+exp=brm_ablation", "data=image_mattes", "data.root=../../people", "data.scenes=/rooms")
    assert cell.folder.parent == Path("outputs/brm_ablation")
    assert ".." not in cell.folder.parts
    assert len(cell.folder.name) < 100
