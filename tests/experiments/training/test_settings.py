"""What no run could use is told by one line, before a process starts."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from experiments import run
from experiments.cells.cell import Cell
from experiments.sweep import composed
from experiments.training import checks
from experiments.training.checks import FOLDERS, check_machine, check_parts
from lightning_modules.nets import NETS
from lightning_modules.nets.flow import DIS, FLOWS
from tests.experiments.in_process import run_here

REFUSED = {
    "scale.steps=-5": "recipe.stages.matting.steps must be a whole number from 1 on, got -5",
    "scale.steps=0": "recipe.stages.matting.steps must be a whole number from 1 on, got 0",
    "scale.batch_size=many": "recipe.stages.matting.batch_size must be a whole number from 1 on, got 'many'",
    "scale.size=16": "recipe.stages.matting.size must be a whole number from 32 on or a list, each a",
    "scale.average_decay=2": "recipe.stages.matting.average_decay must be a number from 0 to below 1 or null, got 2",
    "recipe.stages.matting=3": "recipe.stages.matting must be null or the settings of a stage, got 3",
    "~recipe.stages.matting.size": "recipe.stages.matting.size is missing",
    "~recipe.stages.matting.gamma": "recipe.stages.matting.gamma is missing",
    "+recipe.stages.matting.stepz=3": "recipe.stages.matting has no option stepz; the nearest is steps",
    "recipe.stages.matting.learning_rate=fast": "recipe.stages.matting.learning_rate must be a number or a mapping",
    "recipe.stages.matting.learning_rate=-1": "recipe.stages.matting: learning_rate must be a number from 0 on",
    "recipe.stages.matting.schedule=cosin": "recipe.stages.matting: schedule must be step, cosine or onecycle",
    "recipe.stages.matting.optimizer=sdg": "recipe.stages.matting: optimizer must be sgd, adam or adamw, got 'sdg'",
    "recipe.stages.matting.clip_length=[5,2]": "clip_length must be a number or (fewest, most), got [5, 2]",
    "recipe.stages.matting.objective.name=l1": "recipe.stages.matting: unknown objective 'l1'; there are",
    "+recipe.stages.matting.objective.backprop=2": "modnet_v has no option backprop; the nearest is backprop_frames",
    "recipe.stages.matting.objective.background_weight=much": "background_weight must be a number, got 'much'",
    "+recipe.stages.matting.trunk=3": "recipe.stages.matting.trunk must be a mapping, setting: value, got 3",
    "+recipe.stages.matting.trunk={share: 0.5}": "recipe.stages.matting.trunk.model is missing",
    "+recipe.stages.matting.trunk={share: 1, model: {}}": "trunk.share must be a number from 0 to below 1, got 1",
    "+recipe.stages.matting.trunk={share: 0.001, model: {}}": "leaves none to trunk or arm",
    "+recipe.stages.matting.trunk={share: 0.5, model: {brn: false}}": "net 'modnet_v' has no option brn",
    "+recipe.stages.refinement.trunk={share: 0.5, model: {}}": "only the first stage of a recipe can have one",
    "~trainer.threads": "trainer.threads is missing",
    "+trainer.devicez=2": "trainer has no option devicez; the nearest is devices; it has: accelerator",
    "+data.difficulty.foreground_sped=[1,2]": "foreground_sped",
    "+test.reccurence=false": "test has no option reccurence; the nearest is recurrence",
    "test.plate=second": "plate must be one of first, true, none, got 'second'",
    "+logger.projekt=a": "logger has no option projekt; the nearest is project",
    "logger.name=wandbb": "logger.name must be 'wandb' or 'csv' or",
    "seed=abc": "seed must be a whole number from 0 on, got 'abc'",
    "seed=-1": "seed must be a whole number from 0 on, got -1",
    "seed=true": "seed must be a whole number from 0 on, got True",
    "model.width=wide": "net 'modnet_v': width must be a number, got 'wide'",
    "+model.widht=1": "net 'modnet_v' has no option widht; the nearest is width; it has: width",
    "model.name=nothere": "no net is called 'nothere'",
    "model.brm=maybe": "net 'modnet_v': brm must be one of True, False, restored, first_frame, oracle, got 'maybe'",
    "model.brm=": "net 'modnet_v': brm must be one of True, False, restored, first_frame, oracle, got ''",
    "model.brm_update=foo": "brm_update must be one of average, overwrite, first_sight, ema, count_mean, got 'foo'",
    "model.prm_k=0": "net 'modnet_v': prm_k must be a whole number from 1 on or null, got 0",
    "model=rvm model.backbone=vgg": "net 'rvm': backbone must be one of mobilenetv3, resnet50, got 'vgg'",
    "model=rvm model.recurrence=foo": "net 'rvm': recurrence must be one of convgru, convgru_full, convlstm, none",
    "model=context_motion model.flow=foo": "flow must be one of pwcnet, raft_small, raft_large, maskflownet, dis",
    "model=background_matting_v2 model.refine_share=2": "refine_share must be null or in (0, 1], got 2",
    "model=rvm model.pretrained=true": "pretrained=True needs width=1.0, got 0.5",
    "model.prm=false": "recipe.stages.refinement: the refinement stage needs model.prm=true; else set",
    "+recipe.stages.matting.trunk={share: 0.5, model: {brm: maybe}}": "recipe.stages.matting: net 'modnet_v': brm must",
    "recipe.stages.matting.objective.backprop_frames=0": "matting: backprop_frames must be at least 1, got 0",
    "model=modnet recipe.stages.matting.learning_rate={rest:0.1,brain:0.1}": "matting: learning_rate names brain;",
    "data.difficulty.camouflage=[0,2]": "difficulty: camouflage must lie in [0, 1], got [0, 2]",
    "data.difficulty.photometric=2": "difficulty: photometric must lie in [0, 1], got 2",
    "trainer.precision=foo": "trainer.precision must be '32-true' or '16-mixed' or",
    "trainer.accelerator=abacus": "trainer.accelerator must be 'auto' or 'cpu' or 'gpu' or 'cuda', got 'abacus'",
    "trainer.strategy=fsdp": "trainer.strategy must be auto or ddp, got 'fsdp'",
    "trainer.threads=0": "trainer.threads must be a whole number from 1 on, got 0",
    "trainer.checkpoint_every=0": "trainer.checkpoint_every must be a whole number from 1 on, got 0",
    "trainer.validate_every=1.5": "trainer.validate_every must be a whole number from 1 on, got 1.5",
    "trainer.num_workers=-1": "trainer.num_workers must be a whole number from 0 on or 'auto', got -1",
    "trainer.compile=1": "trainer.compile must be true or false, got 1",
}


def cell_of(*overrides: str) -> Cell:
    config = composed(["hydra.mode=RUN", *overrides])
    return Cell(config, HydraConfig.get(), axes=())


@pytest.mark.parametrize("override", REFUSED)
def test_a_setting_that_no_run_could_use_is_refused_by_name(override: str) -> None:
    with pytest.raises(ValueError, match=re.escape(REFUSED[override])):
        check_parts(cell_of(*_words(override)).settings)


def _words(override: str) -> list[str]:
    """Several overrides, or one whose value has spaces."""
    return [override] if ": " in override else override.split()


@pytest.mark.parametrize("override", ["recipe=rvm model=rvm", "trainer.precision=32", "trainer=gpu", "scale=paper"])
def test_what_a_run_can_use_is_not_refused(override: str) -> None:
    check_parts(cell_of(*override.split()).settings)


@pytest.mark.parametrize("model", NETS)
def test_every_net_with_its_own_recipe_is_not_refused(model: str) -> None:
    check_parts(cell_of(f"model={model}").settings)


def test_a_net_with_a_part_that_reads_its_own_numbers_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(DIS):
        def __init__(self) -> None:
            super().__init__("fast" if torch.ones(2).sum().item() else "medium")

    monkeypatch.setitem(FLOWS, "dis", Counting)
    check_parts(cell_of("model=context_motion", "model.flow=dis").settings)
    with pytest.raises(ValueError, match="flow 'dis' has no option speed"):
        check_parts(cell_of("model=context_motion", "model.flow=dis", "+model.flow_options.speed=1").settings)


@pytest.mark.parametrize("missing", FOLDERS)
def test_a_folder_of_data_that_is_not_there_is_told_by_its_setting(missing: str, tmp_path: Path) -> None:
    places = {name: f"data.{name}={tmp_path}" for name in FOLDERS}
    check_machine(cell_of("data=video_mattes", *places.values()).settings)
    places[missing] = f"data.{missing}={tmp_path}/nowhere"
    with pytest.raises(ValueError, match=f"^data.{missing}={tmp_path}/nowhere: there is no such folder here$"):
        check_machine(cell_of("data=video_mattes", *places.values()).settings)


@pytest.mark.parametrize("override", ["trainer.accelerator=gpu", "logger=tensorboard"])
def test_what_the_machine_lacks_is_told_before_the_start(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"no CUDA device here|pip install tensorboard"):
        check_machine(cell_of(override).settings)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_of_many_cells_with_one_bad_setting_one_line_is_told_and_none_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["+exp=brm_ablation", "scale=smoke", "logger=none", "seed=0,1,2", "model.brm=true", "scale.steps=-5"]
    words += [f"output_dir={tmp_path}/outputs", f"results_dir={tmp_path}/results"]
    ended = run_here(partial(run.run_cells, words, []), words, monkeypatch, capsys)
    assert ended.returncode == 2
    refused = "recipe.stages.matting.steps, which is scale.steps, must be a whole number from 1 on, got -5"
    assert ended.stderr == f"error: {refused}\n"
    assert not list(tmp_path.glob("outputs/*/*"))
