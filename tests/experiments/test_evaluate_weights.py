"""Published weights by name in the command that scores a net; a server on this machine stands for the network."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from experiments.records.cell_record import CellRecord
from tests.file_server import FileServer
from tests.published_weights import SMALL, publish


@pytest.fixture
def weights(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    return publish(server, tmp_path, monkeypatch, SMALL)


@pytest.mark.slow
def test_the_record_names_weights_hash_and_licence_and_its_command_runs_again(
    weights: bytes, testset: Path, evaluated: Callable[..., CellRecord], tmp_path: Path
) -> None:
    record = evaluated(tmp_path / "named", "weights=ours", f"testset={testset}")
    sha256 = hashlib.sha256(weights).hexdigest()
    assert record.arm == {"model": "modnet", "checkpoint": "ours", "options": "default"}
    assert record.trained_on == "published weights"
    assert "weights=ours" in record.command
    assert "model=" not in record.command
    config = yaml.safe_load((record.folder / "config.yaml").read_text())
    source = {"name": "ours", "sha256": sha256, "licence": "MIT", "source": "https://page.example"}
    assert config["published"] == source
    assert config["checkpoint_sha256"] == sha256
    assert config["model"]["width"] == 0.25
    told = f"- weights ours: MIT, https://page.example, SHA-256 {sha256}\n"
    assert told in (record.folder / "scores.md").read_text()

    options = ("model=modnet", "model.width=0.25", "model.hidden=8", f"checkpoint={tmp_path}/ours.ckpt")
    by_file = evaluated(tmp_path / "file", *options, f"testset={testset}")
    assert by_file.metrics == record.metrics
    assert by_file.trained_on == "", "nobody tells it of that file"
    assert by_file.config_hash == record.config_hash


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["weights=ours", "model=rvm"], "weights=ours says which net it is and where it lies; leave model= out"),
        (["weights=ours", "checkpoint=x.pth"], "leave checkpoint= out"),
        (["weights=our"], "no published weights are called 'our'; there are, the nearest first: ours, "),
    ],
)
def test_what_says_the_net_twice_or_is_unknown_is_refused(
    overrides: list[str],
    told: str,
    weights: bytes,
    server: FileServer,
    tmp_path: Path,
    evaluated: Callable[..., CellRecord],
) -> None:
    with pytest.raises(ValueError, match=told):
        evaluated(tmp_path, *overrides)
    assert not server.requests
