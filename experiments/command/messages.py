"""What errors and durations say, as part of a line."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """What an error says without line ends, at most 300 characters; its causes are told by who ends the command."""
    return " ".join(str(error).split())[:300]


def duration(seconds: float) -> str:
    """A forecast's or a clock's seconds in words.

    >>> duration(0.2), duration(99), duration(150)
    ('1 s', '99 s', '2 min')
    """
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{max(seconds, 1):.0f} s"
