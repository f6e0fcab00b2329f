"""Changes one after the other; those that wait while others are being stored share a commit."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple


class _Waiting(NamedTuple):
    change: Callable[[], Any]
    reply: asyncio.Future[Any]


class Commits:
    """A queue of changes: functions that do something, or raise RequestError and do nothing.

    One that takes long may be a coroutine function; the others wait for it all the same.
    """

    def __init__(
        self, commit: Callable[[], Awaitable[None]], go_on: Callable[[], None] = lambda: None
    ) -> None:
        """commit: stores what was done since it was called last, or takes it back and raises.

        go_on: is called whenever a change was done or stored.
        """
        self._commit = commit
        self._go_on = go_on
        self._queue: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def idle(self) -> bool:
        return self._worker is None

    async def run(self, change: Callable[[], Any]) -> Any:
        """Do a change when it is its turn; its result, when that is stored.

        Where no more are done, whoever waits is cancelled.
        """
        if self._closed:
            raise asyncio.CancelledError
        waiting = _Waiting(change, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await waiting.reply

    async def close(self) -> None:
        """Begin no more changes, and return when those that were begun are stored or taken back."""
        self._closed = True
        for waiting in self._queue:
            waiting.reply.cancel()
        self._queue.clear()
        if self._worker:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        batch: list[_Waiting] = []
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                if len(batch) == 1 or not await self._run(batch):
                    for waiting in batch:
                        await self._run_alone(waiting)
        finally:
            self._worker = None
            if self._queue or batch:  # the worker was cancelled: nobody may wait for ever
                for waiting in (*batch, *self._queue):
                    waiting.reply.cancel()
                self._queue.clear()

    async def _run(self, batch: Sequence[_Waiting]) -> bool:
        """Do changes together. False: they could not be stored, of which some may need no store."""
        answers = [await self._do(waiting) for waiting in batch]
        try:
            await self._commit()
        except BaseException as error:  # noqa: BLE001 - each will have its own
            _raise_if_stopping(error)
            return False
        finally:
            self._go_on()
        for answer in answers:
            answer()
        return True

    async def _run_alone(self, waiting: _Waiting) -> None:
        answer = await self._do(waiting)
        try:
            await self._commit()
        except BaseException as error:  # noqa: BLE001 - it is for the one who waits
            _raise_if_stopping(error)
            answer = partial(_fail, waiting.reply, error)
        finally:
            self._go_on()
        answer()

    async def _do(self, waiting: _Waiting) -> Callable[[], None]:
        """Do a change; what answers it."""
        try:
            result = waiting.change()
            if inspect.iscoroutine(result):
                result = await result
        except BaseException as error:  # noqa: BLE001 - it is for the one who waits
            _raise_if_stopping(error)
            return partial(_fail, waiting.reply, error)
        finally:
            self._go_on()
        return partial(_succeed, waiting.reply, result)


def _succeed(reply: asyncio.Future[Any], result: Any) -> None:
    if not reply.done():
        reply.set_result(result)


def _fail(reply: asyncio.Future[Any], error: BaseException) -> None:
    """Have the caller's wait raise an error, whatever it is."""
    if reply.done():
        return
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        # A future refuses StopIteration, and what is no Exception would end the caller's loop.
        unexpected = RuntimeError(f"a change raised {type(error).__name__}")
        unexpected.__cause__ = error
        error = unexpected
    reply.set_exception(error)


def _raise_if_stopping(error: BaseException) -> None:
    """Raise an error again if it is the cancellation of the worker itself."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
