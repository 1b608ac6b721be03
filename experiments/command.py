"""What the commands share: running under Hydra, and ending bad input with one line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.safety import refuse_secrets

CONFIGS = Path(__file__).parent / "configs"
# Settings whose values are places, names or patterns, whatever characters those have.
TEXTS = (
    *("checkpoint", "testset", "output", "output_dir", "results_dir", "cache_dir", "sheet", "root", "scenes", "splits"),
    *("scene_splits", "youtubevis", "coco", "supervisely", "dir", "person", "name"),
)
BAD_INPUT = (HydraException, OmegaConfBaseException, ValueError, OSError)


def run_hydra(job: Callable[[DictConfig], None], config_name: str = "config") -> list[Exception]:
    """Run `job` on the config of the command line, once for each point of a multirun; what bad input it met.

    Errors are kept and not raised: Hydra would print a line of its own, and stop a multirun at the first.
    """
    errors: list[Exception] = []
    quote_texts()

    @hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)
    def main(config: DictConfig) -> None:
        try:
            refuse_missing_settings(config)
            refuse_secret_settings(config)
            job(config)
        except BAD_INPUT as error:
            errors.append(error)

    main()
    return errors


def refuse_missing_settings(config: DictConfig) -> None:
    """Check that every setting that has no default is given.

    Raises:
        ValueError: some are not.
    """
    if missing := _missing(OmegaConf.to_container(config)):
        settings = " ".join(f"{key}=…" for key in missing)
        raise ValueError(f"{' and '.join(missing)} must be given: add {settings} to the command (see --help, README)")


def _missing(node: Any, key: str = "") -> list[str]:
    """Keys of a tree whose values are "???"."""
    if isinstance(node, dict):
        return [each for name, child in node.items() for each in _missing(child, f"{key}.{name}".lstrip("."))]
    if isinstance(node, list):
        return [each for k, child in enumerate(node) for each in _missing(child, f"{key}[{k}]")]
    return [key] if node == "???" else []


def refuse_secret_settings(config: DictConfig) -> None:
    """Check the config of a command line, and the command line itself, before either is written anywhere.

    Raises:
        ValueError: a setting is a secret.
    """
    given = HydraConfig.get().overrides
    refuse_secrets(OmegaConf.to_container(config, resolve=True), [*given.task, *given.hydra])  # type: ignore[arg-type]


def quote_texts() -> None:
    """Put the quotes that Hydra asks for into the words of the command line (`quoted`)."""
    sys.argv[1:] = [quoted(word) for word in sys.argv[1:]]


def quoted(word: str) -> str:
    """A word of a command line with the quotes that Hydra asks for, where its value is a place, a name or a pattern.

    `~/` becomes the home folder. What Hydra reads as several values or as null stays so, unless a file is called so;
    so does what has its quotes.

    >>> quoted("checkpoint=outputs/model.brm=true,seed=0/model.pt"), quoted("data.root=people"), quoted("seed=0,1")
    ("checkpoint='outputs/model.brm=true,seed=0/model.pt'", 'data.root=people', 'seed=0,1')

    Raises:
        ValueError: Hydra cannot read the word, and it is not known to be text.
    """
    setting, equals, value = word.partition("=")
    if not equals or word.startswith("-"):
        return word
    is_text = setting.lstrip("+").rpartition(".")[2] in TEXTS
    if is_text and value[:1] not in ("'", '"'):
        value = re.sub(r"(^|,)~(?=/|,|$)", lambda found: found[1] + str(Path.home()), value)
        if _exists(value):
            return f"{setting}={in_quotes(value)}"
    try:
        (override,) = OverridesParser.create().parse_overrides([f"{setting}={value}"])
        is_read = not is_text or override.is_sweep_override() or isinstance(override.value(), str | None)
    except HydraException as error:
        if not is_text:
            raise ValueError(
                f"{word}: Hydra cannot read {value!r}; where it is one text, quote it: {setting}={in_quotes(value)}"
            ) from error
        is_read = False
    return f"{setting}={value if is_read else in_quotes(value)}"


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except OSError:  # too long for a name
        return False


def in_quotes(text: str) -> str:
    r"""As a quoted value of Hydra, which takes backslashes before a quote by pairs.

    >>> print(in_quotes(r"it's \d+"))
    'it\'s \d+'
    """
    marks = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", r"\'"), text)
    return f"'{marks}'"


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
        for line in (line.strip() for line in str(cause).splitlines()):
            if line and not any(line in earlier for earlier in lines):  # most errors repeat their cause
                lines.append(line)
        cause = cause.__cause__
    told = [line for line in lines if "HYDRA_FULL_ERROR" not in line and "object_type" not in line]
    return "; ".join(told)[:600]
