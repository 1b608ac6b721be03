"""What errors and durations say, as part of a line."""

from __future__ import annotations


def reason(error: BaseException, longest: int = 300) -> str:
    r"""What an error says without line ends, at most `longest` characters; its causes are told by who ends the command.

    Of an error in a loading process it is the last line, after that process's traceback.

    >>> reason(ValueError("Caught ValueError in DataLoader worker process 0.\nOriginal Traceback …\nValueError: a.mp4"))
    'ValueError: a.mp4'
    """
    text = str(error).strip()
    last = text.rpartition("\n")[2] if "Original Traceback" in text else text
    return " ".join(last.split())[:longest]


def one_line(error: BaseException) -> str:
    r"""What is wrong, with the causes, in one line; of what Hydra did not find, without where it looked.

    >>> one_line(ValueError("Could not find 'a/bc'\nAvailable options in 'a':\n\tb\nConfig search path:\n\tx"))
    "Could not find 'a/bc'; Available options in 'a': b"
    """
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        own = (line.strip() for line in str(cause).partition("Config search path:")[0].splitlines())
        lines += [line for line in own if line and not any(line in earlier for earlier in lines)]  # most repeat it
        cause = cause.__cause__
    told = [line for line in lines if "HYDRA_FULL_ERROR" not in line and "object_type" not in line]
    return "; ".join(told).replace(":; ", ": ")[:600]


def duration(seconds: float) -> str:
    """A forecast's or a clock's seconds in words.

    >>> duration(0.2), duration(99), duration(150)
    ('1 s', '99 s', '2 min')
    """
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{max(seconds, 1):.0f} s"
