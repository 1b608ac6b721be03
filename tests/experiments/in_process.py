"""A command in this process, which has imported already what a new one would take ten seconds to import."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from functools import partial
from subprocess import CompletedProcess

import pytest
from hydra.core.global_hydra import GlobalHydra

from experiments.command.errors import ends_with_one_line


def run_here(
    main: Callable[[], int], words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CompletedProcess[str]:
    """What a command line of these words prints, and the status that it ends with."""
    return _ended(partial(ends_with_one_line, main), words, monkeypatch, capsys)


def run_module(
    name: str, words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CompletedProcess[str]:
    """The same of `python -m experiments.NAME`, with all that its file does there."""
    module = partial(runpy.run_module, f"experiments.{name}", run_name="__main__", alter_sys=True)
    return _ended(module, words, monkeypatch, capsys)


def _ended(
    command: Callable[[], object],
    words: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> CompletedProcess[str]:
    with monkeypatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")  # else the command sets it for good
        patch.setattr(sys, "argv", ["command", *words])
        GlobalHydra.instance().clear()
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command()
    return CompletedProcess(list(words), ended.value.code, *capsys.readouterr())  # type: ignore[arg-type]
