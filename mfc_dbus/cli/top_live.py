"""`top` on a terminal: asks the service, hears the keys, and draws, until somebody ends it."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mfc_dbus.cli.filters import Given, is_address, read_address
from mfc_dbus.cli.parser import UsageError
from mfc_dbus.cli.streams import ask_for_streams
from mfc_dbus.cli.top_screen import Screen
from mfc_dbus.cli.top_view import View, Wish
from mfc_dbus.cli.verbs import explain
from mfc_dbus.client import ClientError
from mfc_dbus.client.remote import GONE

if TYPE_CHECKING:
    from mfc_dbus.client import Client, StreamInfo

_FIRST = 1.0  # seconds until the service has rates


class Live:
    """Shows streams on a screen that is open."""

    def __init__(
        self, client: "Client", view: View, screen: Screen, chosen: Mapping[str, Given]
    ) -> None:
        """chosen: the filters of the command."""
        self._client = client
        self._view = view
        self._screen = screen
        self._chosen = chosen
        self._ask_now = asyncio.Event()
        self._end = asyncio.Event()
        self._explaining: asyncio.Task[None] | None = None

    async def run(self, interval: float) -> None:
        """Return when the key q was pressed, or the terminal has gone. Raises ClientError."""
        with self._listening():
            asking = asyncio.create_task(self._ask_again_and_again(interval))
            ending = asyncio.create_task(self._end.wait())
            try:
                await asyncio.wait([asking, ending], return_when=asyncio.FIRST_COMPLETED)
                for done in (asking, self._explaining):
                    if done is not None and done.done():
                        done.result()
            finally:
                for task in (asking, ending, self._explaining):
                    if task is not None:
                        task.cancel()

    async def _ask_again_and_again(self, interval: float) -> None:
        while True:
            self._ask_now.clear()
            wait = interval
            try:
                await self._ask()
            except ClientError as error:
                if error.name not in GONE:
                    raise
                self._view.message = str(error)
            else:
                self._view.message = ""
                if self._view.is_without_rates:
                    wait = min(_FIRST, interval)
            self._draw()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._view.paused else wait):
                    await self._ask_now.wait()

    async def _ask(self) -> None:
        """Have the first streams shown; where the filter is an address, of those for it."""
        view, typed = self._view, {}
        with contextlib.suppress(UsageError):
            if is_address(view.text):
                filter_, read = read_address(view.text)
                typed = {filter_.name: read} if filter_.name not in self._chosen else {}
        asking = ask_for_streams(self._client, {**self._chosen, **typed}, sort=view.sort)
        view.show(*await asking(), narrowed=bool(typed))

    def _begin_to_explain(self, stream: "StreamInfo") -> None:
        """Show why a stream flows or not, in the place of the streams."""
        title = f"({stream.source}, {stream.group}) from {stream.iif}"
        self._view.page = [title, "", "Its packets are watched ..."]
        self._explaining = asyncio.create_task(self._explain(stream, title))
        self._explaining.add_done_callback(self._explained)

    async def _explain(self, stream: "StreamInfo", title: str) -> None:
        try:
            found = await self._client.explain(
                stream.group, source=stream.source, iif=stream.iif, table=stream.table
            )
            told = explain.lines(found)
        except ClientError as error:
            told = [str(error)]
        self._view.page = [title, "", *told]
        self._draw()

    def _explained(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._end.set()  # and `run` raises it

    def _hear(self) -> None:
        for key in self._screen.read_keys():
            match self._view.press(key):
                case Wish.ASK:
                    self._ask_now.set()
                case Wish.EXPLAIN if self._view.chosen is not None:
                    self._begin_to_explain(self._view.chosen)
                case Wish.END:
                    self._end.set()
            if self._view.page is None and self._explaining is not None:
                self._explaining.cancel()  # nobody waits for it any more
                self._explaining = None
        if self._screen.is_gone:
            self._end.set()
        self._draw()

    def _resize(self) -> None:
        self._screen.resize()
        self._draw()

    def _draw(self) -> None:
        self._screen.draw(self._view.lines(*self._screen.size))

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()
        loop.add_reader(stdin, self._hear)
        loop.add_signal_handler(signal.SIGWINCH, self._resize)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            loop.remove_reader(stdin)
