"""Changes one after the other; those that wait while others are being stored share a commit."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from mfc_dbus.loop.outcome import Outcome


class _QueuedChange(NamedTuple):
    change: Callable[[], Any]
    reply: asyncio.Future[Any]


class ChangeQueue:
    """A queue of changes: functions that do something, and raise RequestError where they could not.

    What one has done before it raised is stored as all else is; most have done nothing then. One
    that takes long may be a coroutine function; the others wait for it all the same.
    """

    def __init__(
        self,
        commit: Callable[[], Coroutine[Any, Any, None]],
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        """commit: stores what was done since it was called last, or takes it back and raises.

        go_on: is called whenever a change was done or stored.
        """
        self._commit = commit
        self._go_on = go_on
        self._queue: list[_QueuedChange] = []
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def idle(self) -> bool:
        return self._worker is None

    async def run(self, change: Callable[[], Any]) -> Any:
        """Do a change when its turn comes. Return its result when it is stored.

        Raises what the change raises, and CancelledError after `close`.
        """
        if self._closed:
            raise asyncio.CancelledError
        return await self._enqueue(change)  # no variable may hold that future: see outcome.py

    def _enqueue(self, change: Callable[[], Any]) -> asyncio.Future[Any]:
        reply = asyncio.get_running_loop().create_future()
        self._queue.append(_QueuedChange(change, reply))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return reply

    async def close(self) -> None:
        """Begin no more changes, and return when those that were begun are stored or taken back."""
        self._closed = True
        for waiting in self._queue:
            waiting.reply.cancel()
        self._queue.clear()
        if self._worker:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        batch: list[_QueuedChange] = []
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                if len(batch) > 1:
                    await self._run(batch)
                while batch:
                    await self._run_alone(batch[0])
                    del batch[0]
        finally:
            self._worker = None
            if self._queue or batch:  # the worker was cancelled: nobody may wait for ever
                for waiting in (*batch, *self._queue):
                    waiting.reply.cancel()
                self._queue.clear()

    async def _run(self, batch: list[_QueuedChange]) -> None:
        """Do changes together, and empty the batch; or leave it, where they could not be stored
        together: some of them may need no store, and each will have its own.
        """
        outcomes = [await self._try(waiting.change) for waiting in batch]
        if not (await self._try(self._commit)).error:
            _answer(batch, outcomes)
            batch.clear()
        del outcomes  # an error among them holds this frame: see outcome.py

    async def _run_alone(self, waiting: _QueuedChange) -> None:
        outcome = await self._try(waiting.change)
        stored = await self._try(self._commit)
        (stored if stored.error else outcome).answer(waiting.reply)
        del waiting, outcome, stored  # as in `_run`

    async def _try(self, act: Callable[[], Any]) -> Outcome:
        """Do a change, or a commit. Raise nothing but the cancellation of the worker itself."""
        try:
            result = act()
            if inspect.iscoroutine(result):
                result = await result
        except BaseException as error:  # noqa: BLE001 - it is for the one who waits
            _raise_if_stopping(error)
            return Outcome(error=error)
        finally:
            self._go_on()
        return Outcome(result)


def _answer(batch: Sequence[_QueuedChange], outcomes: Sequence[Outcome]) -> None:
    for waiting, outcome in zip(batch, outcomes, strict=True):
        outcome.answer(waiting.reply)


def _raise_if_stopping(error: BaseException) -> None:
    """Raise an error again if it is the cancellation of the worker itself."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
