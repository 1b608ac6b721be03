"""What the commands share: running under Hydra, and ending bad input with one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.safety import refuse_secrets

CONFIGS = Path(__file__).parent / "configs"
BAD_INPUT = (HydraException, OmegaConfBaseException, ValueError, OSError)


def run_hydra(job: Callable[[DictConfig], None], config_name: str = "config") -> list[Exception]:
    """Run `job` on the config of the command line, once for each point of a multirun; what bad input it met.

    Errors are kept and not raised: Hydra would print a line of its own, and stop a multirun at the first.
    """
    errors: list[Exception] = []

    @hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)
    def main(config: DictConfig) -> None:
        try:
            refuse_secret_settings(config)
            job(config)
        except BAD_INPUT as error:
            errors.append(error)

    main()
    return errors


def refuse_secret_settings(config: DictConfig) -> None:
    """Check the config of a command line, and the command line itself, before either is written anywhere.

    Raises:
        ValueError: a setting is a secret.
    """
    given = HydraConfig.get().overrides
    refuse_secrets(OmegaConf.to_container(config, resolve=True), [*given.task, *given.hydra])  # type: ignore[arg-type]


def swept(arguments: Sequence[str]) -> list[str]:
    """Settings to which the command line gives several values.

    >>> swept(["+exp=brm_ablation", "seed=0,1", "model.width=1.0"])
    ['seed']
    """
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    return [override.key_or_group for override in parsed if override.is_sweep_override()]


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


def one_line(error: BaseException) -> str:
    """What is wrong, with the causes, in one line."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        lines += [line.strip() for line in str(cause).splitlines() if line.strip()]
        cause = cause.__cause__
    told = [line for line in dict.fromkeys(lines) if "HYDRA_FULL_ERROR" not in line and "object_type" not in line]
    return "; ".join(told)[:600]
