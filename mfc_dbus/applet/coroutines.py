"""Coroutines on the main loop of GLib (pure).

A coroutine awaits a Pending, and goes on when what that has started calls back. PyGObject has
nothing of its own for this before 3.50.
"""

from collections.abc import Callable, Coroutine, Generator
from typing import Any

Done = Callable[[Any, Exception | None], None]


class Pending:
    """Something that is started with a callback, for a coroutine to await its result."""

    def __init__(self, start: Callable[[Done], None]) -> None:
        """start: is given the callback, which takes a result, or None and an error."""
        self._start = start

    def __await__(self) -> Generator[Callable[[Done], None], Any, Any]:
        return (yield self._start)


def spawn(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine until its first await, and from there on as its results come."""

    def go_on(result: Any = None, error: Exception | None = None) -> None:
        try:
            start = work.send(result) if error is None else work.throw(error)
        except StopIteration:
            return
        start(go_on)

    go_on()
