"""The job of a film on its loop, beside its net and its codec."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments.matting import speed
from experiments.matting.request import job_of
from tests.experiments.matting.films_and_nets import TIMES, Planner
from tests.experiments.matting.films_and_nets import files as files
from tests.experiments.matting.films_and_nets import planner as planner


@pytest.mark.slow
def test_net_codec_and_all_are_measured_in_turns(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_of([f"input={files}/film.mp4", f"checkpoint={files}/model.pt", f"output={tmp_path}/out", "chunk=4"])
    tables = list(speed.benchmark_video(job, 0.2, lambda what: None))
    assert [table["what"].tolist() for table in tables] == [["net", "codec", "all"]] * speed.ROUNDS
    for table in tables:
        assert speed.COLUMNS.keys() <= set(table)
        assert (table[["frames", "fps", "p50_ms", "cpu_ms"]] > 0).all(axis=None)
        assert (table["p50_ms"] <= table["p99_ms"]).all()
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "out").exists()


def test_the_codec_alone_is_the_same_job_without_its_net(planner: Planner, tmp_path: Path) -> None:
    trial = speed.Trial(planner.job(tmp_path / "out", chunk=4))
    assert trial.count == 8  # whole chunks, so that each has its mattes
    calls = []
    trial.job.net.register_forward_hook(lambda *_: calls.append(1))
    assert trial.codec_alone(0.1).frames >= 4
    assert (calls, trial.mattes.calls > 0) == ([], True)


def test_memory_is_told_by_the_minute(planner: Planner, tmp_path: Path) -> None:
    watch = speed.Watch()
    watch.notes = [(1.0, 5, 100.0), (59.0, 5, 120.0), (61.0, 2, 90.0)]
    minutes = watch.minutes()
    assert minutes.values.tolist() == [[1, 10, 120], [2, 2, 90]]
    assert speed.growth(minutes) == "Memory: 120 MB in minute 1, 90 MB in minute 2 (-25.0%), at most 120 MB."


def test_the_limits_compare_each_round_with_itself() -> None:
    names = ["round", "what", "fps", "cpu_ms"]
    first = [(0, "net", 10.0, 50), (0, "codec", 20.0, 50), (0, "all", 9.0, 100)]
    second = [(1, "net", 5.0, 50), (1, "codec", 4.0, 50), (1, "all", 2.0, 100)]
    told = speed.limits(pd.DataFrame(first + second, columns=names))
    assert "All reaches 70% of the slower of net and codec (50% to 90% in 2 rounds; the goal is 85%)" in told


def test_a_webcam_cannot_be_shown_again(planner: Planner, tmp_path: Path) -> None:
    job = planner.job(tmp_path / "out")
    loop = speed.Loop(job.footage, len(TIMES), 1.0)  # like a webcam, it has no end
    with pytest.raises(ValueError, match="input=FILE or a folder, no webcam"):
        speed.Trial(speed.replace(job, footage=loop))
