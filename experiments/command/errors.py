"""Ends of a command: bad input is told in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from experiments.command.messages import one_line

BAD_INPUT = (HydraException, OmegaConfBaseException, ValueError, OSError)


def ends_with_one_line(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns; bad input is told in one line, with status 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing
    print_on_any_terminal()
    try:
        sys.exit(main())
    except BAD_INPUT as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


def print_on_any_terminal() -> None:
    """Print "?" for what the terminal's encoding lacks, such as × in ASCII, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
