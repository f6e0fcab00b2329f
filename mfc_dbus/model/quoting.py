"""What strangers wrote, made fit for a sentence (pure)."""

from collections.abc import Iterable

MAX_NAMED = 20  # interfaces in one sentence, where there may be thousands


def quote(text: str) -> str:
    """Quote what a stranger wrote for use in a sentence: short, and nothing in it but text."""
    return f"'{shorten(text)}'"


def shorten(text: str) -> str:
    """Make what a stranger wrote fit for a sentence, with no quotes."""
    shown = text if len(text) <= 40 else text[:40] + "…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def printable(text: str) -> str:
    """Write each character that a terminal may obey, or does not show, as its number."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def join(names: Iterable[str], most: int | None = None) -> str:
    """Quote names in a row, or so many of them and the number of the others."""
    names = list(names)
    shown = ", ".join(quote(name) for name in names[:most])
    return shown if most is None or len(names) <= most else f"{shown} and {len(names) - most} more"
