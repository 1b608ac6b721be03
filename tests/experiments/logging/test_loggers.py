"""What is logged beside the record, and that no server can stop a cell."""

import json
import multiprocessing
import os
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import wandb
import yaml
from wandb.proto.wandb_internal_pb2 import Record

import experiments
from datamodules.video import count_frames, write_video
from experiments.logging import loggers, wandb_runs
from experiments.logging.cell_logger import matte_panels
from experiments.logging.loggers import log_again, make_logger
from experiments.logging.settings import Logger
from experiments.logging.wandb_client import client_settings
from experiments.logging.wandb_records import download_records
from experiments.logging.wandb_runs import WandbCellLogger, clip_table, flatten, start_wandb
from experiments.records.cell_record import CellRecord

pytestmark = pytest.mark.usefixtures("no_account")
SECRETS = {"WANDB_API_KEY": "a1b2c3d4" * 5, "AWS_SECRET_ACCESS_KEY": "very-secret-key", "HF_TOKEN": "hf_secret_token"}
CONFIG: dict[str, Any] = {
    "model": {"name": "modnet_v", "brm": True},
    "recipe": {"stages": {"matting": {"steps": 400}, "refinement": None}},
    "seed": 0,
    "logger": {"name": "wandb"},
}
WANDB = Logger("wandb", "tests", "offline", init_timeout=30, finish_timeout=20)


@pytest.fixture
def record(make_cell: Callable[..., CellRecord]) -> CellRecord:
    cell = make_cell({"model.brm": True}, 0, media=True, frames=6, metrics={"mad": 71.2, "psnr": None})
    write_video(cell.folder / "media" / "static__person_0.mp4", torch.rand(4, 3, 32, 96), fps=12)
    (cell.folder / "model.pt").write_bytes(b"weights")
    return cell


def logged(path: Path) -> Iterator[Any]:
    """Records of a .wandb file: LevelDB's log format, blocks of 32 KiB."""
    wandb.teardown()  # as at the end of a process: waits until all is written
    data, position, buffer = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        checksum, size, kind = struct.unpack("<IHB", data[position : position + 7])
        chunk = data[position + 7 : position + 7 + size]
        position += 7 + size
        assert zlib.crc32(chunk, zlib.crc32(bytes([kind]))) == checksum
        buffer = chunk if kind in (1, 2) else buffer + chunk
        if kind in (1, 4):
            yield Record.FromString(buffer)


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.slow
def test_wandb_holds_history_results_and_the_record(record: CellRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_RUN_GROUP", "my sweep")
    logger = make_logger(WANDB, CONFIG, record)
    assert isinstance(logger, WandbCellLogger)
    for step, error in enumerate((50.0, 40.0, 45.0)):
        logger.log_metrics({"train/loss": 1.0 / (1 + step), "val/mad": error, "epoch": 0}, step)
    logger.first_step = 400
    logger.log_metrics({"train/loss": 0.1}, 0)
    logger.close(record)

    (path,) = record.folder.glob("wandb/offline-run-*/run-*.wandb")
    kinds: dict[str, list[Any]] = {}
    for entry in logged(path):
        kinds.setdefault(entry.WhichOneof("record_type"), []).append(entry)
    run = kinds["run"][0].run
    config = values(run.config.update)
    assert (run.run_group, run.job_type, list(run.tags)) == ("my sweep", "train", ["tiny", "modnet_v"])
    assert (config["model.brm"], config["experiment"], config["seed"]) == (True, "brm_ablation", 0)
    assert not any(name.startswith("logger") for name in config)
    history = [values(entry.history.item) for entry in kinds["history"]]
    assert [row.get("train/loss") for row in history] == [1.0, 0.5, 1 / 3, 0.1, None]
    assert [row["trainer/global_step"] for row in history[:4]] == [0, 1, 2, 400]
    assert "epoch" not in history[0]
    summary: dict[str, Any] = {}
    for entry in kinds["summary"]:
        summary |= values(entry.summary.update)
    assert summary["val/mad"] == 45.0
    assert summary["test/mad"] == 71.2
    assert summary["cost/parameters"] == 1_234_567
    assert summary["clips/nrows"] == 24
    assert summary["mattes/count"] == 6
    assert summary["videos/_type"] == "videos"
    sent = {file.path for entry in kinds["artifact"] for file in entry.artifact.manifest.contents}
    assert {"config.yaml", "record.json", "metrics.parquet", "baselines.parquet", "history_matting.csv"} <= sent
    assert "model.pt" not in sent
    saved = {file.path for entry in kinds["files"] for file in entry.files.files}
    assert f"{record.folder.name}/record.json" in saved
    assert kinds["exit"][0].exit.exit_code == 0

    for file in record.folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not [name for name, secret in SECRETS.items() if secret.encode() in content], file


def test_a_cell_that_is_cut_off_leaves_a_run_that_can_go_on(record: CellRecord) -> None:
    record.status = "running"
    ids = set()
    for _ in range(2):
        logger = start_wandb(WANDB, CONFIG, record)
        ids.add(logger.run.id)
        logger.close(record)
    assert len(ids) == 1
    for path in record.folder.glob("wandb/offline-run-*/run-*.wandb"):
        entries = list(logged(path))
        assert not [entry for entry in entries if entry.WhichOneof("record_type") == "artifact"]
        assert [entry.exit.exit_code for entry in entries if entry.WhichOneof("record_type") == "exit"] == [1]


def test_a_complete_cell_is_logged_again_from_its_record(record: CellRecord) -> None:
    log_again(Logger("csv"), CONFIG, record)
    table = pd.read_csv(record.folder / "csv/version_0/metrics.csv")
    history = record.read_history()
    assert history is not None
    assert list(table["train/loss"].dropna()) == pytest.approx(list(history["loss"]))
    assert list(table["test/mad"].dropna()) == [71.2]


@pytest.mark.slow
def test_a_server_that_cannot_be_reached_neither_stops_nor_holds_a_cell(
    record: CellRecord, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    begin = time.monotonic()
    logger = start_wandb(replace(WANDB, init_timeout=3), CONFIG, record)
    logger.log_metrics({"train/loss": 1.0}, 0)
    logger.close(record)
    assert time.monotonic() - begin < 60
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning:")]
    folder = Path(line.rpartition("wandb sync ")[2])
    assert "logging offline" in line
    assert list(folder.glob("run-*.wandb"))
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    with pytest.raises(ValueError, match="under its sweep agent"):
        start_wandb(replace(WANDB, init_timeout=3), CONFIG, record)
    wandb.teardown()


def test_without_a_key_a_cell_is_logged_offline_with_one_line(
    record: CellRecord, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []
    real = wandb_runs._start_run

    def refuse(options: Logger, config: dict[str, Any], record: CellRecord, mode: str) -> Any:
        tried.append(mode)
        if mode == "online":
            raise wandb.errors.UsageError("No API key configured.\nUse wandb login.")
        return real(options, config, record, mode)

    monkeypatch.setattr(wandb_runs, "_start_run", refuse)
    start_wandb(replace(WANDB, mode="online"), CONFIG, record).close(record)
    assert tried == ["online", "offline"]
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(told) == 1
    assert "No API key configured. Use wandb login." in told[0]


def bare(run: Any, mode: str, folder: Path) -> WandbCellLogger:
    run.define_metric = run.save = lambda *_, **__: None
    run.config, run.starting_step = SimpleNamespace(), 0
    run.dir = folder / "run-1-abc" / "files"
    run.dir.mkdir(parents=True)
    return WandbCellLogger(run, "tests", mode)


@pytest.mark.parametrize("status", ["complete", "failed"])
def test_after_a_server_died_a_complete_cell_is_logged_anew_and_another_goes_on_later(
    status: str, record: CellRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def finish(exit_code: int) -> None:
        raise TimeoutError("Timed out finishing run.")

    nothing = lambda *_, **__: None  # noqa: E731
    logger = bare(SimpleNamespace(id="abc", log=nothing, log_artifact=nothing, finish=finish), "online", tmp_path)
    logged: list[CellRecord] = []
    logger.log_anew = logged.append
    record.status = status
    logger.close(record)
    told = "the same command sends W&B what it lacks when the cell goes on\n" in capsys.readouterr().err
    assert (bool(logged), told) == {"complete": (True, False), "failed": (False, True)}[status]


def log_and_be_killed(record: CellRecord) -> None:
    """What a cell's process does that logs 20 rows, and is killed before the client has written the last of them."""
    logger = start_wandb(WANDB, CONFIG, record)
    for step in range(0, 200, 10):
        logger.log_metrics({"train/loss": 1.0}, step)
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_offline_run_of_a_cell_that_was_killed_has_all_its_steps(record: CellRecord) -> None:
    cell = multiprocessing.get_context("fork").Process(target=log_and_be_killed, args=(record,))
    cell.start()
    cell.join(300)
    assert cell.exitcode == -signal.SIGKILL
    assert list(record.folder.glob("wandb/offline-run-*/run-*.wandb"))
    logger = start_wandb(WANDB, CONFIG, record)
    logger.log_earlier(
        [{"step": step, "loss": 1.0} for step in range(0, 150, 10)]
    )  # its checkpoint's, the file has fewer
    for step in range(150, 400, 10):
        logger.log_metrics({"train/loss": 1.0}, step)
    logger.close(record)
    (path,) = record.folder.glob("wandb/*run-*/run-*.wandb")
    entries = list(logged(path))
    rows = [values(entry.history.item) for entry in entries if entry.WhichOneof("record_type") == "history"]
    assert [row["trainer/global_step"] for row in rows if "train/loss" in row] == list(range(0, 400, 10))
    assert rows[-1]["test/mad"] == 71.2
    assert not entries[0].run.resumed


def test_a_key_with_a_line_end_is_taken_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40 + "\r\n")
    client_settings(WANDB)
    assert os.environ["WANDB_API_KEY"] == "0" * 40


def test_the_service_of_a_process_that_has_ended_is_not_asked(
    record: CellRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_SERVICE", "3-1-tcp-localhost-9")
    start_wandb(WANDB, CONFIG, record).close(record)
    assert list(record.folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert capsys.readouterr().err == ""


def test_a_client_that_dies_stops_the_logging_alone(
    record: CellRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def log(*_: Any, **__: Any) -> None:
        raise BrokenPipeError("service gone")

    finish = lambda **_: None  # noqa: E731
    logger = bare(SimpleNamespace(id="abc", log=log, finish=finish), "offline", tmp_path)
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step)
    logger.close(record)
    told = capsys.readouterr().err
    assert told.count("W&B could not log all (service gone)") == 1


def test_the_table_of_clips_has_the_papers_units(record: CellRecord) -> None:
    frames = record.read_frames()
    table = clip_table(frames)
    first = frames[(frames["clip"] == "person_0") & (frames["scene"] == "scene_00")]
    assert len(table) == 24
    assert table["mad"][0] == pytest.approx(1e3 * first["mad"].mean())
    assert table["dtssd"][0] == pytest.approx(1e2 * first["dtssd"].mean())


def test_a_panel_has_all_strips_of_a_clip_below_each_other(record: CellRecord) -> None:
    panels = matte_panels(record.folder / "media")
    assert len(panels) == 6
    assert panels["static__person_0"].shape == (6 * 96, 5 * 96, 3)


def test_nested_settings_get_the_names_of_the_command_line() -> None:
    assert flatten(CONFIG)["recipe.stages.matting.steps"] == 400


def test_csv_files_count_steps_over_all_stages(record: CellRecord) -> None:
    logger = make_logger(Logger("csv"), CONFIG, record)
    assert logger is not None
    logger.log_metrics({"train/loss": 2.0}, 7)
    logger.first_step += 400
    logger.log_metrics({"train/loss": 1.0}, 7)
    logger.close(record)
    table = pd.read_csv(record.folder / "csv/version_0/metrics.csv")
    assert list(table["step"][:2]) == [7, 407]


def test_tensorboard_shows_scalars_and_mattes(record: CellRecord) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = make_logger(Logger("tensorboard"), CONFIG, record)
    assert logger is not None
    logger.log_metrics({"train/loss": 2.0}, 7)
    logger.close(record)
    events = EventAccumulator(str(record.folder / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(7, 2.0)]
    assert events.Scalars("test/mad")[0].value == pytest.approx(71.2)
    assert len(events.Tags()["images"]) == 6


def test_a_missing_tensorboard_is_told(record: CellRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")

    monkeypatch.setattr(loggers, "TensorBoardLogger", missing)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        make_logger(Logger("tensorboard"), CONFIG, record)


def test_none_logs_nothing(record: CellRecord) -> None:
    assert make_logger(Logger("none"), CONFIG, record) is None


def test_every_logger_of_the_config_is_known() -> None:
    folder = Path(experiments.__file__).parent / "configs" / "logger"
    assert {yaml.safe_load(path.read_text())["name"] for path in folder.glob("*.yaml")} == set(loggers.LOGGERS)


class Project:
    """Stands in for wandb.Api: runs, newest first, whose files are those of a cell."""

    def __init__(self, *cells: CellRecord) -> None:
        self.cells = cells

    def __call__(self) -> "Project":
        return self

    def runs(self, project: str, filters: dict[str, str], order: str) -> list[Any]:
        assert (filters, order) == ({"config.experiment": "brm_ablation"}, "-created_at")
        return [SimpleNamespace(config={"cell": cell.cell}, files=lambda cell=cell: files(cell)) for cell in self.cells]


def files(cell: CellRecord) -> list[Any]:
    def file(name: str, source: Path) -> Any:
        def download(root: str, replace: bool) -> None:
            target = Path(root) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())

        return SimpleNamespace(name=name, download=download)

    kept = [path for path in cell.folder.rglob("*") if path.is_file()]
    hostile = ["../record.json", "../../metrics.parquet", "cell/../../record.json", "config.yaml", "/etc/record.json"]
    ours = [file(path.relative_to(cell.folder.parent).as_posix(), path) for path in kept]
    return [*ours, *(file(name, cell.folder / "config.yaml") for name in hostile)]


def test_records_come_back_from_a_project(
    make_cell: Callable[..., CellRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = make_cell({"model.brm": True}, 0)
    (newest.folder / "model.pt").write_bytes(b"weights")
    older = make_cell({"model.brm": True}, 1)
    older.cell = newest.cell
    older.save()
    failed = make_cell({"model.brm": False}, 0, status="failed", error="ValueError: lost")
    monkeypatch.setattr(wandb, "Api", Project(newest, older, failed))
    folder = tmp_path / "project" / "brm_ablation"
    assert download_records("someone/tests", "brm_ablation", folder) == sorted([newest.cell, failed.cell])
    back = CellRecord.load(folder / newest.cell)
    assert back.seed == 0
    pd.testing.assert_frame_equal(back.read_frames(), newest.read_frames())
    assert not (folder / newest.cell / "model.pt").exists()
    assert CellRecord.load(folder / failed.cell).error == "ValueError: lost"
    assert {path.name for path in folder.iterdir()} == {newest.cell, failed.cell}
    assert {path.name for path in folder.parent.iterdir()} == {"brm_ablation"}


def test_a_project_without_records_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "Api", Project())
    with pytest.raises(ValueError, match="no records of brm_ablation"):
        download_records("someone/tests", "brm_ablation", tmp_path)


def test_a_cell_leaves_short_videos_of_its_test_clips(tmp_path: Path) -> None:
    from experiments.scoring.movies import MAX_FRAMES, Movie

    movie = Movie()
    for start in range(0, 140, 70):
        frames, alpha = torch.rand(70, 3, 16, 600), torch.rand(70, 1, 16, 600)
        movie.add(start, {"frame": frames, "alpha_true": alpha, "alpha_pred": alpha})
    movie.write(tmp_path / "media" / "clip.mp4")
    assert count_frames(tmp_path / "media" / "clip.mp4") == MAX_FRAMES
