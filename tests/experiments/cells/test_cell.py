"""One cell, several commands: real processes that import nothing heavy."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from experiments.cells.cell import Cell, CellBusyError, prepared_cell
from experiments.cells.launch import spawn
from experiments.records.cell_record import CellRecord
from experiments.records.locks import lock_cell
from experiments.sweep import composed

# Works on a cell as `experiments.cell` does, once its standard input says so: until then it "imports".
WORKER = """
import os, sys
from pathlib import Path
from experiments.records.locks import lock_cell
folder = Path(sys.argv[1])
print("importing", flush=True)
sys.stdin.readline()
with lock_cell(folder) as lock:
    print("busy" if lock is None else "steps: 7" in (folder / "config.yaml").read_text(), flush=True)
"""


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cell_of(*overrides: str) -> Cell:
    """The cell of a command line; its name does not tell scale.steps."""
    config = composed(["+exp=brm_ablation", "hydra.mode=RUN", *overrides])
    return Cell(config, HydraConfig.get(), axes=())


@contextlib.contextmanager
def worker(cell: Cell, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that was started on a prepared cell and still imports."""
    with prepared_cell(cell, print) as lock, (tmp_path / "out").open("wb") as out:
        assert lock is not None
        process = spawn([sys.executable, "-c", WORKER, str(cell.folder)], None, out, lock)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def go_on(process: subprocess.Popen[bytes]) -> None:
    process.communicate(b"\n", timeout=60)


def test_other_settings_wait_while_the_process_of_a_cell_still_imports(in_folder: Path) -> None:
    ours, theirs = cell_of("scale.steps=7"), cell_of("scale.steps=8")
    assert ours.folder == theirs.folder
    with worker(ours, in_folder) as process:
        with (
            pytest.raises(ValueError, match=r"process \d+ on .* with other settings; wait for it or stop it"),
            prepared_cell(theirs, print),
        ):
            pass
        with (
            pytest.raises(CellBusyError, match="works on this cell; wait for it or stop it"),
            prepared_cell(ours, print),
        ):
            pass
        assert yaml.safe_load((ours.folder / "config.yaml").read_text()) == ours.config
        assert CellRecord.load(ours.folder).config_hash == ours.hash()
        go_on(process)
    assert (in_folder / "out").read_text().split() == ["importing", "True"]
    with prepared_cell(theirs, print) as lock:
        assert lock is not None
    assert CellRecord.load(ours.folder).config_hash == theirs.hash()


def test_a_lock_ends_with_the_process_that_took_it_over(in_folder: Path) -> None:
    ours = cell_of()
    with worker(ours, in_folder), lock_cell(ours.folder) as lock:
        assert lock is None
    with lock_cell(ours.folder) as lock:
        assert lock is not None


def test_what_a_cell_starts_does_not_keep_its_lock(in_folder: Path) -> None:
    ours = cell_of()
    with prepared_cell(ours, print):
        outliving = subprocess.Popen(["sleep", "60"])
    try:
        with lock_cell(ours.folder) as lock:
            assert lock is not None
    finally:
        outliving.kill()
        outliving.wait()


def test_a_folder_in_which_nothing_was_begun_is_taken_over(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = cell_of()
    ours.folder.mkdir(parents=True)
    for name in ("log.txt", "config.yaml", ".record.json.0a1b2c3d.tmp"):
        (ours.folder / name).write_text("of a killed process")
    with prepared_cell(ours, print) as lock:
        assert lock is not None
    assert capsys.readouterr().out == ""
    assert [path.name for path in ours.folder.parent.iterdir()] == [ours.folder.name]


def test_a_folder_with_checkpoints_and_no_record_is_moved_aside_and_named_for_what_it_is(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = cell_of()
    (ours.folder / "checkpoints").mkdir(parents=True)
    with prepared_cell(ours, print):
        pass
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f"it was moved aside, to {ours.folder.name}~unreadable, and the cell starts anew")
    assert ours.folder.with_name(f"{ours.folder.name}~unreadable").is_dir()


def test_a_record_of_another_config_is_moved_aside_and_never_passes_for_this_cell(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for steps in (5, 7):
        with prepared_cell(cell_of(f"scale.steps={steps}"), print) as lock:
            assert lock is not None
    (line,) = capsys.readouterr().out.splitlines()
    assert "the record is of another config; it was moved aside, to " in line
    assert len(list(cell_of().folder.parent.iterdir())) == 2
