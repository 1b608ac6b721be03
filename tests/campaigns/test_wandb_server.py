"""That the stand-in server takes what the real client sends, also after it has died and come back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from tests.campaigns.wandb_server import WandbServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    with WandbServer() as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        yield server
        wandb.teardown()


def start_run(folder: Path) -> "wandb.Run":
    settings = wandb.Settings(silent=True, console="off", finish_timeout=60)
    return wandb.init(project="tests", id="run0", dir=folder, config={"width": 0.5}, settings=settings)


def test_rows_files_and_artifacts_arrive_although_the_server_dies(server: WandbServer, tmp_path: Path) -> None:
    (tmp_path / "scores.txt").write_text("mad 3.5")
    run = start_run(tmp_path)
    run.log({"loss": 2.0})
    server.stop()
    run.log({"loss": 1.0})
    server.start()
    artifact = wandb.Artifact("scores", type="record")
    artifact.add_file(str(tmp_path / "scores.txt"))
    run.log_artifact(artifact)
    run.save(str(tmp_path / "scores.txt"), base_path=tmp_path, policy="now")
    run.finish()
    seen = server.run("run0")
    assert [row["loss"] for row in seen.history] == [2.0, 1.0]
    assert (seen.state, seen.config["width"], seen.summary["loss"]) == ("finished", {"value": 0.5}, 1.0)
    assert seen.files["scores.txt"] == b"mad 3.5"
    assert [(each.name, each.state, each.files["scores.txt"]) for each in server.store.artifacts] == [
        ("scores", "COMMITTED", b"mad 3.5")
    ]
    assert server.unknown == []


def test_the_reading_client_sees_what_was_sent(server: WandbServer, tmp_path: Path) -> None:
    run = start_run(tmp_path)
    run.log({"loss": 2.0})
    run.finish()
    (seen,) = wandb.Api().runs("tests", filters={"config.width": 0.5})
    assert [row["loss"] for row in seen.scan_history()] == [2.0]
    assert list(wandb.Api().runs("tests", filters={"config.width": 1.0})) == []
