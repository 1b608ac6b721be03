"""Damaged checkpoints are found out, and the one before is used."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.training.checkpoints import (
    OWNER,
    WholeCheckpoints,
    is_usable,
    is_whole,
    newest_usable,
    remove_checkpoint,
    save_checkpoint,
)
from lightning_modules.module import NonFiniteLossError


def save(path: Path, value: float = 1.0) -> bytes:
    torch.save({"weight": torch.full((64, 64), value), OWNER: "cell stage"}, path)
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), length=st.integers(1, 64))
def test_damage_inside_a_tensor_is_found(tmp_path: Path, place: float, length: int) -> None:
    path = tmp_path / "a.ckpt"
    data = bytearray(save(path))
    payload = data.find(torch.ones(64, 64).numpy().tobytes())
    begin = payload + int(place * (64 * 64 * 4 - length))
    data[begin : begin + length] = bytes(255 - byte for byte in data[begin : begin + length])
    path.write_bytes(data)
    assert not is_whole(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_off_file_is_found(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.ckpt"
    data = save(path)
    path.write_bytes(data[: int(share * len(data))])
    assert not is_whole(path)


def test_the_newest_usable_checkpoint_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest, before = tmp_path / "a.ckpt", tmp_path / "a.before.ckpt"
    assert newest_usable(newest, "cell stage") is None
    save(before)
    assert newest_usable(newest, "cell stage") == before
    data = save(newest, 2.0)
    assert newest_usable(newest, "cell stage") == newest
    newest.write_bytes(data[:100])
    assert newest_usable(newest, "cell stage") == before
    assert "a.ckpt is damaged" in capsys.readouterr().out
    remove_checkpoint(newest)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("owner", ["another stage", "cell other", ""])
def test_a_checkpoint_of_another_cell_or_stage_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], owner: str
) -> None:
    path = tmp_path / "a.ckpt"
    save(path)
    assert not is_usable(path, owner)
    assert capsys.readouterr().out == f"{path} is of another cell, stage or version and is not used\n"
    for content in ({"weight": torch.ones(2)}, [1], torch.ones(2)):  # of an earlier version, or any file
        torch.save(content, path)
        assert newest_usable(path, owner) is None


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_anywhere_makes_no_other_weights(tmp_path: Path, bit: int) -> None:
    path = tmp_path / "a.ckpt"
    whole = save(path)
    for place in range(bit, len(whole), 97):
        data = bytearray(whole)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        assert not is_usable(path, "cell stage") or torch.load(path, weights_only=True)["weight"].eq(1).all()


def test_the_last_good_state_stays_when_weights_are_not_finite(tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 2)
    trainer = SimpleNamespace(
        lightning_module=net,
        global_step=7,
        is_global_zero=True,
        save_checkpoint=lambda path: torch.save(net.state_dict(), path),
    )
    path = tmp_path / "a.ckpt"
    save_checkpoint(trainer, path)  # type: ignore[arg-type]
    good = path.read_bytes()
    with torch.no_grad():
        net.weight[0, 0] = float("inf")
    with pytest.raises(NonFiniteLossError, match=r"by step 7 \(weight\)"):
        save_checkpoint(trainer, path)  # type: ignore[arg-type]
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_is_written_beside_the_one_before_and_not_into_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no room here"))
    trainer = pl.Trainer(plugins=[WholeCheckpoints()], logger=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(pl.LightningModule())
    path = tmp_path / "checkpoints" / "matting.ckpt"
    for _ in range(2):
        save_checkpoint(trainer, path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["matting.before.ckpt", "matting.ckpt"]
    assert all(is_whole(file) for file in path.parent.iterdir())
