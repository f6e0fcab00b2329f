"""Makes text of strangers fit for a sentence or a terminal (pure)."""

from collections.abc import Iterable

MAX_NAMED = 20  # interfaces in one sentence, where there may be thousands


def quote(text: str) -> str:
    """Quote a stranger's text for a sentence: shortened, and with all characters printable."""
    return f"'{shorten(text)}'"


def shorten(text: str) -> str:
    """Make a stranger's text fit for a sentence as `quote` does, but without quotes."""
    shown = text if len(text) <= 40 else text[:40] + "…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def printable(text: str) -> str:
    """Escape each character that a terminal may obey, or does not show."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def join(names: Iterable[str], most: int | None = None, more: int = 0) -> str:
    """Quote names in a row; of more than `most` the first ones, and the number of the others.

    more: how many there are beside these.
    """
    names = list(names)
    shown = [quote(name) for name in names[:most]]
    more += len(names) - len(shown)
    return f"{', '.join(shown)} and {more} more" if more else ", ".join(shown)
