"""What errors say, as part of a line."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """What an error says without line ends, at most 300 characters; its causes are told by who ends the command."""
    return " ".join(str(error).split())[:300]
