"""What of a video is done, on disk: segments that are whole, and the net's state after the last of them."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.files.writing import write_file
from experiments.matting.looks import Target
from lightning_modules.nets.checkpoint_files import read_checkpoint
from lightning_modules.nets.interface import MattingNet

WORK = ".matte"  # folder of what is unfinished, in the output folder
RECORD = "matte.json"


@dataclass
class Unfinished:
    """What is done in an output folder.

    Attributes:
        folder: the output folder.
        settings: all that decides the pictures, plain.
        segments: how many are whole.
        times: of the frames in them, in the time base of the footage.
        state: of the net after them.
    """

    folder: Path
    settings: dict[str, Any]
    segments: int = 0
    times: list[int] = field(default_factory=list)
    state: Any = None

    @property
    def work(self) -> Path:
        """Where segments lie until they are joined."""
        return self.folder / WORK

    @property
    def _file(self) -> Path:
        return self.work / "progress.pt"

    def segment(self, target: Target, number: int) -> Path:
        """Where segment `number` of a video lies until all are joined."""
        return self.work / f"{target.look}.{number:05d}{target.suffix}.mkv"

    def save(self) -> None:
        """Write all but the segments, whole or not at all."""
        plain = tuple(self.state) if isinstance(self.state, tuple) else self.state
        buffer = io.BytesIO()
        torch.save({"segments": self.segments, "times": torch.tensor(self.times), "state": _on_cpu(plain)}, buffer)
        write_file(self._file, buffer.getvalue())

    def resume(self, net: MattingNet, targets: Sequence[Target]) -> None:
        """Take what an earlier process has done; nothing where it left nothing, or not all that it told of."""
        try:
            saved = read_checkpoint(self._file)
            count, times, state = saved["segments"], saved["times"].tolist(), saved["state"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        videos = [target for target in targets if target.is_video]
        if all(self.segment(target, number).is_file() for target in videos for number in range(count)):
            self.segments, self.times, self.state = count, times, net.restore_state(state)

    def begin(self, targets: Sequence[Target]) -> None:
        """Take the folder: note the settings, and clear away what is not gone on with."""
        self._write_record("running", {})
        kept = {self.segment(target, number) for target in targets for number in range(self.segments)}
        for path in set(self.work.iterdir()) - kept - {self.work / "lock", self._file}:
            path.unlink()
        if not self.times:
            self._file.unlink(missing_ok=True)
            for target in targets:
                # Single pictures would mix with the new ones; videos are replaced when those are whole.
                for picture in (self.folder / target.place).glob("[0-9]*.png"):
                    picture.unlink()

    def finish(self, outputs: dict[str, int]) -> None:
        """Note that all is done, and delete what was unfinished; `outputs` has the bytes of each file by name."""
        self._write_record("complete", outputs)
        shutil.rmtree(self.work)

    def _write_record(self, status: str, outputs: dict[str, int]) -> None:
        record = {"status": status, "settings": self.settings, "frames": len(self.times), "outputs": outputs}
        write_file(self.folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False).encode())


@dataclass(frozen=True)
class Earlier:
    """What the record of an output folder says.

    Attributes:
        settings: that were asked for.
        complete: all of it is there, as it was written.
    """

    settings: dict[str, Any]
    complete: bool

    @classmethod
    def read(cls, folder: Path) -> Earlier | None:
        """None where no such command has written."""
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            whole = record["status"] == "complete" and record["outputs"] == measured(folder, record["outputs"])
            return cls(dict(record["settings"]), whole)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return cls({}, complete=False)

    def changed(self, settings: dict[str, Any]) -> list[str]:
        """Names of the settings that are others now."""
        now = json.loads(json.dumps(settings))  # as the record would have them, which knows no tuples
        return [name for name in dict.fromkeys([*self.settings, *now]) if self.settings.get(name) != now.get(name)]


def measured(folder: Path, names: Sequence[str] | dict[str, int]) -> dict[str, int]:
    """Bytes of each file, number of the files of each folder; −1 for what is not there."""
    sizes = {}
    for name in names:
        path = folder / name
        sizes[name] = len(list(path.iterdir())) if path.is_dir() else path.stat().st_size if path.exists() else -1
    return sizes


def _on_cpu(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, tuple | list):
        return type(state)(_on_cpu(each) for each in state)
    return {name: _on_cpu(each) for name, each in state.items()} if isinstance(state, dict) else state
