"""A saved net is read as it was written, or its file is named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments.inference.saved_nets import load_net, save_net, saved_name
from experiments.records.cell_record import CellRecord
from lightning_modules.nets import build_net

MODEL = {"name": "modnet", "width": 0.25}


def saved(path: Path, seed: int = 0) -> bytes:
    net = build_net("modnet", width=0.25)
    net.reset_parameters(seed)
    save_net(path, net, MODEL)
    return path.read_bytes()


@pytest.fixture
def cell(make_cell: Callable[..., CellRecord]) -> CellRecord:
    record = make_cell({"model.brm": True}, 0, strata=("static",), clips=1, frames=2)
    saved(record.folder / "model.pt")
    record.save()
    return record


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def test_flipped_bytes_are_told_beside_a_record_and_away_from_it(cell: CellRecord, tmp_path: Path) -> None:
    assert load_net(cell.folder / "model.pt", "modnet")[0]
    for path in (cell.folder / "model.pt", tmp_path / "moved.pt"):
        path.write_bytes(flipped((cell.folder / "model.pt").read_bytes()) if path.exists() else flipped(saved(path)))
        for read in (saved_name, lambda path: load_net(path, "modnet")):
            with pytest.raises(ValueError, match=rf"{path.name} cannot be read as a checkpoint: \S+ in it is damaged"):
                read(path)


def test_weights_of_another_seed_beside_a_record_are_refused(cell: CellRecord) -> None:
    path = cell.folder / "model.pt"
    other = saved(path, seed=1)
    with pytest.raises(ValueError, match=r"model\.pt is damaged or was changed: record\.json has another checksum"):
        load_net(path, "modnet")
    moved = cell.folder.parent / "model.pt"
    moved.write_bytes(other)
    assert load_net(moved, "modnet")[0]


def test_a_record_of_an_earlier_version_has_no_checksum_and_its_net_is_read(cell: CellRecord) -> None:
    path = cell.folder / "record.json"
    text = path.read_text()
    begin = text.index(',\n  "checksums"')
    path.write_text(text[:begin] + "\n}\n")
    assert CellRecord.load(cell.folder).checksums == {}
    saved(cell.folder / "model.pt", seed=1)
    net, _ = load_net(cell.folder / "model.pt", "modnet")
    assert isinstance(net, torch.nn.Module)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"model": {}, "state_dict": {"a": torch.zeros(1)}}, "its model has no name"),
        ({"model": {"name": ["modnet"]}, "state_dict": {"a": torch.zeros(1)}}, "its model has no name"),
        ({"model": {"name": "modnet", 3: 4}, "state_dict": {"a": torch.zeros(1)}}, "its model has no name"),
        ({"model": {"name": "modnet"}, "state_dict": [1]}, "it holds one object of type list"),
        ({"model": {"name": "modnet"}, "state_dict": {1: torch.zeros(1)}}, "its key 1 is no name"),
        ({"model": {"name": "modnet"}, "state_dict": {"a": "x"}}, "its 'a' is of type str"),
    ],
)
def test_a_file_that_only_looks_like_a_saved_net_is_refused(content: object, told: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path)
    for read in (saved_name, lambda path: load_net(path, "modnet")):
        with pytest.raises(ValueError, match=rf"model\.pt is no saved net: {told}"):
            read(path)
