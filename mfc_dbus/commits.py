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

    def __init__(self, commit: Callable[[], Awaitable[None]]) -> None:
        """commit: stores what was done since it was called last, or takes it back and raises."""
        self._commit = commit
        self._queue: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self._worker is None

    async def run(self, change: Callable[[], Any]) -> Any:
        """Do a change when it is its turn; its result, when that is stored."""
        waiting = _Waiting(change, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await waiting.reply

    async def _work(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                if len(batch) == 1 or not await self._run(batch):
                    for waiting in batch:
                        await self._run_alone(waiting)
        finally:
            self._worker = None

    async def _run(self, batch: Sequence[_Waiting]) -> bool:
        """Do changes together. False: they could not be stored, of which some may need no store."""
        answers = [await _do(waiting) for waiting in batch]
        try:
            await self._commit()
        except Exception:  # noqa: BLE001 - each will have its own
            return False
        for answer in answers:
            answer()
        return True

    async def _run_alone(self, waiting: _Waiting) -> None:
        answer = await _do(waiting)
        try:
            await self._commit()
        except Exception as error:  # noqa: BLE001 - it is for the one who waits
            answer = partial(_fail, waiting.reply, error)
        answer()


async def _do(waiting: _Waiting) -> Callable[[], None]:
    """Do a change; what answers it."""
    try:
        result = waiting.change()
        if inspect.iscoroutine(result):
            result = await result
    except Exception as error:  # noqa: BLE001 - it is for the one who waits
        return partial(_fail, waiting.reply, error)
    return partial(_succeed, waiting.reply, result)


def _succeed(reply: asyncio.Future[Any], result: Any) -> None:
    if not reply.done():
        reply.set_result(result)


def _fail(reply: asyncio.Future[Any], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)
