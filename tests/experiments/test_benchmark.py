from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments import benchmark
from experiments.benchmarks import official


@pytest.mark.slow
def test_without_a_command_nets_are_measured_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "--nets modnet:width=0.5 --sizes 64x64 --precisions fp32 --modes eager --seconds 0 --frames 1"
    assert benchmark.main([*arguments.split(), "--threads", "1", "--output", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "| modnet:width=0.5 | 64x64 | fp32 | eager |" in told
    assert "Ceilings measured in this run: copy" in told
    assert pd.read_csv(tmp_path / "nets.csv")["net"].tolist() == ["modnet:width=0.5"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--nets modnett", "no net is called 'modnett'"),
        ("--nets modnet:wdth=1", "no option wdth"),
        ("--sizes 512", "a size is WIDTHxHEIGHT"),
        ("--device tpu", "no device|--device must be"),
        ("--seconds -1", "--seconds must be a number from 0 on"),
        ("--seconds nan", "--seconds must be a number from 0 on"),
        ("--chunk 0", "--chunk must be 1 or more, got 0"),
        ("--frames -2", "--frames must be 1 or more, got -2"),
        ("train --steps 0", "--steps must be 1 or more, got 0"),
        ("train --set trainer.precision=bf16-true", "trainer.precision must be one of 32-true, 16-mixed, bf16-mixed"),
        ("train --set data=video_mattes", "data.root and data.scenes must be given"),
        ("train --set model.width=wide", "width must be a number, got 'wide'"),
        ("--records nowhere", "no complete run record"),
        ("official --net modnet --code nowhere", "no clone of the official code"),
        ("official --net modnet --code nowhere --variants fp32", "PRECISION:MODE"),
        ("prm --checkpoint nowhere.pt", "no checkpoint"),
    ],
)
def test_bad_input_is_named_before_anything_is_measured(arguments: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        benchmark.main([*arguments.split(), "--threads", "1"])


@pytest.mark.parametrize(("size", "told"), [("512x288", True), ("512x288@0.5", False)])
def test_it_is_told_where_the_published_file_does_more_than_the_net(
    size: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame({name: ["rvm"] if form == "" else [1] for name, (_, form) in official.COLUMNS.items()})
    monkeypatch.setattr(official, "benchmark_official", lambda *given: [table])
    arguments = ["official", "--net", "rvm", "--code", str(tmp_path / "rvm.onnx"), "--threads", "1", "--sizes", size]
    benchmark.main(arguments)
    assert ("At ratio 1 RVM's file refines" in capsys.readouterr().out) == told


def test_finished_tables_are_on_disk_when_a_later_one_fails(tmp_path: Path) -> None:
    def tables() -> object:
        yield pd.DataFrame({"net": ["a"]})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark._collect(tables(), tmp_path, "nets.csv")  # type: ignore[arg-type]
    assert pd.read_csv(tmp_path / "nets.csv")["net"].tolist() == ["a"]


@pytest.mark.slow
def test_a_training_step_of_each_stage_is_measured_in_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["scale=smoke", "scale.train_clips=2", "scale.train_scenes=2", "scale.train_clip_frames=4"]
    benchmark.main(["train", "--steps", "1", "--threads", "1", "--output", ".", "--set", "model=modnet_v", *few])
    table = pd.read_csv(tmp_path / "train.csv")
    assert table["stage"].tolist() == ["matting", "refinement"]
    assert (table[["forward", "backward", "optimiser", "step"]] > 0).all(axis=None)
    assert (table[["forward_operations", "backward_operations", "optimiser_operations"]] > 0).all(axis=None)
    assert (table["averaging_operations"] > 0).tolist() == [True, False]
