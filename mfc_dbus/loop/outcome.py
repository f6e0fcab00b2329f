"""What a piece of work came to, for the future of whoever waits for it.

An error holds its traceback, which holds the frames that it has left and their callers (from Python
3.12 on those of coroutines too), and they their variables. A future among these would hold the
error in turn: a circle, which only Python's garbage collector frees, and that looks at nothing that
`garbage.held_off` exempts. So whoever catches an error for a future does it in a frame that does
not know the future, and returns an Outcome.
"""

import asyncio
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """The result of some work, or the error that it raised."""

    result: Any = None
    error: BaseException | None = None

    def answer(self, future: "asyncio.Future[Any]") -> None:
        """Give it to a future, unless nobody waits for that any more."""
        if future.done():
            return
        error = self.error
        if error is None:
            future.set_result(self.result)
            return
        if not isinstance(error, Exception) or isinstance(error, StopIteration):
            # A future refuses StopIteration; what is no Exception would end the caller's loop.
            unexpected = RuntimeError(f"{type(error).__name__} was raised")
            unexpected.__cause__ = error
            error = unexpected
        future.set_exception(error)
