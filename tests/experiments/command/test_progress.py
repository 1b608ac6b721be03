"""How far a command is, where no bar is seen."""

import pytest

from experiments.command import progress
from experiments.command.progress import ClipProgress


def test_a_log_file_gets_the_last_clip_and_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    with ClipProgress(2, 8, "films") as told:
        told.add_frames(4)
        told.add_clip()
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 1000)
        told.add_frames(4)
        told.add_clip()
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("0/2 films, ")
    assert first.endswith(" min left")
    assert last.startswith("2/2 films, ")


def test_ranks_that_are_not_shown_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ClipProgress(1, None, shown=False) as told:
        told.add_frames(4)
        told.add_clip()
    assert capsys.readouterr().out == ""
    assert told.frames_per_second > 0
