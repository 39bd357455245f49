"""Foreign text on its way to a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without control characters (an escape sequence could clear the screen or worse); lines are kept."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
