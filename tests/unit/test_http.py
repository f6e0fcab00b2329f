"""Nobody keeps others from the server, whatever he sends or does not send."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import pytest

from mfc_dbus.metrics import http
from mfc_dbus.metrics.http import HttpRequest, Page, Server

MOST = 4
ASK = b"GET / HTTP/1.1\r\n\r\n"


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def ask(self) -> None:
        with suppress(OSError):
            self._writer.write(ASK)

    async def status(self) -> int:
        """The status of the answer, 0 where the connection ends without one."""
        try:
            _, _, rest = (await self._reader.readline()).partition(b" ")
        except OSError:
            return 0
        return int(rest[:3] or 0)

    def close(self) -> None:
        self._writer.transport.abort()


class Stage:
    """A server that answers when `may_answer` is set, and its clients, of whom each stays."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self._path, self._stack = path, stack
        self._asked = 0
        self.most_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def answer(self, _request: HttpRequest) -> Page:
        self._asked += 1
        if self._asked == MOST:
            self.most_asked.set()
        await self.may_answer.wait()
        if self.error:
            raise self.error
        return Page(HTTPStatus.OK, b"Here\n")

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(self._path))
        self._stack.callback(client.close)
        return client


@asynccontextmanager
async def staged(path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        stage = Stage(path / "socket", stack)
        sock = stack.enter_context(socket.socket(socket.AF_UNIX))
        sock.bind(str(path / "socket"))
        server = await Server(stage.answer).listen(sock)
        stack.callback(server.close)
        yield stage


def play(path: Path, scene: Callable[[Stage], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), staged(path) as stage:
            await scene(stage)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MAX_CLIENTS", MOST)


def test_the_oldest_who_has_not_asked_makes_room_for_a_new_one(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.may_answer.set()
        silent = [await stage.connect() for _ in range(MOST)]
        new = await stage.connect()
        new.ask()
        assert await new.status() == 200
        assert await silent[0].status() == 0
        silent[1].ask()
        assert await silent[1].status() == 200

    play(tmp_path, scene)


def test_who_has_his_answer_and_stays_makes_room_for_a_new_one(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.may_answer.set()
        for _ in range(3 * MOST):
            client = await stage.connect()
            client.ask()
            assert await client.status() == 200

    play(tmp_path, scene)


def test_who_waits_for_his_answer_gets_it_however_many_come(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        waiting = [await stage.connect() for _ in range(MOST)]
        for client in waiting:
            client.ask()
        await stage.most_asked.wait()
        new = await stage.connect()
        assert await new.status() == 0
        stage.may_answer.set()
        assert [await client.status() for client in waiting] == [200] * MOST

    play(tmp_path, scene)


def test_an_unexpected_error_is_answered_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(stage: Stage) -> None:
        stage.may_answer.set()
        stage.error = RuntimeError("unexpected")
        for _ in range(2):
            client = await stage.connect()
            client.ask()
            assert await client.status() == 500

    play(tmp_path, scene)
    (record,) = (each for each in caplog.records if each.name.startswith("mfc_dbus"))
    assert record.exc_info


def test_who_does_not_ask_in_time_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_TIMEOUT_OF_REQUEST", 0.01)

    async def scene(stage: Stage) -> None:
        assert await (await stage.connect()).status() == 0

    play(tmp_path, scene)
