"""Settings that mean harm: none is made public, and none writes outside the output folder."""

from functools import partial
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hypothesis import given
from hypothesis import strategies as st

from experiments import run
from experiments.cells.cell import Cell
from experiments.command.safety import refuse_secrets
from experiments.records.cell_record import CellRecord
from experiments.records.identity import short_name
from experiments.report import experiments_of
from experiments.sweep import composed
from tests.experiments.in_process import run_here

SECRET = "hf_0123456789abcdef"


def cell_of(*overrides: str) -> Cell:
    return Cell(composed(["+exp=brm_ablation", "scale=smoke", *overrides]), HydraConfig.get(), axes=())


@pytest.mark.parametrize(
    "override",
    [
        *("+logger.api_key=abc", "+trainer.token=abc", "+hydra.job.env_set.WANDB_API_KEY=abc"),
        *("+hydra.job.env_set={WANDB_API_KEY: abc}", f"data.cache_dir=/{SECRET}/people"),
    ],
)
def test_a_secret_does_not_become_a_setting(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with pytest.raises(ValueError, match="a secret must not be one") as told:
        cell_of(override)
    assert SECRET not in str(told.value)
    assert "abc" not in str(told.value)


def test_ordinary_settings_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "procedural")
    refuse_secrets({"model": {"num_tokens": 16, "key_width": 8}, "data": {"name": "procedural"}}, ["+exp=secretary"])


@pytest.mark.parametrize(
    "override",
    [
        *("experiment.name=../../evil", "experiment.name=/tmp/evil", "experiment.name=..", "scale.name=../evil"),
        "+recipe.stages={../../evil:{steps:1}}",
    ],
)
def test_a_name_does_not_lead_out_of_the_output_folder(override: str) -> None:
    with pytest.raises(ValueError, match="names files; use letters"):
        cell_of(override)


@pytest.mark.slow
def test_a_command_with_a_hostile_name_writes_nothing_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"{name}_dir={tmp_path}/deep/{name}" for name in ("output", "results")]
    command = ["+exp=brm_ablation", "seed=0", "model.brm=true", "scale=smoke", *places]
    for mode in ("RUN", "MULTIRUN"):
        words = [*command, f"hydra.mode={mode}", "experiment.name=../../evil"]
        result = run_here(partial(run.run_cells, words, []), words, monkeypatch, capsys)
        assert result.returncode != 0
        assert "experiment.name: '../../evil' names files" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert {path.name for path in (tmp_path / "deep").iterdir()} <= {"output"}


@given(st.text(max_size=300), st.sampled_from([60, 200]))
def test_a_cells_folder_lies_in_its_experiments(name: str, longest: int) -> None:
    short = short_name(name, longest)
    assert len(short) <= longest
    assert not short or Path("/outputs", short).resolve().parent == Path("/outputs")


def test_a_hostile_record_names_no_report_outside() -> None:
    cells = [CellRecord(Path("x"), cell="a", scale="../../evil", study="../evil"), CellRecord(Path("y"), scale="/etc")]
    for place in experiments_of("evaluate", cells):
        assert Path("/results", place).resolve().parent == Path("/results")
