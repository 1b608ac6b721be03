"""Words of a command line as Hydra wants them: texts in quotes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

# Settings whose values are places, names or patterns, whatever characters those have.
TEXTS = (
    *("checkpoint", "testset", "output", "output_dir", "results_dir", "cache_dir", "sheet", "root", "scenes", "splits"),
    *("scene_splits", "youtubevis", "coco", "supervisely", "dir", "person", "name", "onnx", "input", "over"),
    *("background", "weights"),
)


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
    if setting.endswith(".objective.plate"):  # of its values one is the text true
        text = re.sub(r"(?<!['\"])\btrue\b", "'true'", value)
        return f"{setting}={text}"
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
