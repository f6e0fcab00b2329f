"""mfc-dbus-exporter: offers the metrics over HTTP, on this machine alone or on systemd's socket."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from http import HTTPStatus

from mfc_dbus.client import Client, ClientError
from mfc_dbus.metrics.arguments import FAILED, MAX_ROUTES, PROGRAM, STOPPED, make_parser
from mfc_dbus.metrics.families import families
from mfc_dbus.metrics.http import HttpRequest, Page, Server
from mfc_dbus.metrics.reading import Reading, read
from mfc_dbus.metrics.text import FORMATS, registry

_LISTEN_FDS_START = 3  # sd_listen_fds(3)
_FRESH = 1.0  # seconds for which whoever asks gets the same reading

_TYPES = {
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "text": "text/plain; version=0.0.4; charset=utf-8",
}


class _Pages:
    """What was read, as a page of each format, written when the first one asks for it."""

    def __init__(self, reading: Reading | None, max_routes: int) -> None:
        self._reading = reading
        self._max_routes = max_routes
        self._written: dict[str, Page] = {}

    def page(self, format_: str) -> Page:
        if format_ not in self._written:
            text = FORMATS[format_](registry(families(self._reading, self._max_routes)))
            self._written[format_] = Page(HTTPStatus.OK, text, _TYPES[format_])
        return self._written[format_]


class Exporter:
    """Answers scrapers. Between two readings of the service is a second or more."""

    def __init__(self, client: Client, max_routes: int = MAX_ROUTES) -> None:
        self._client = client
        self._max_routes = max_routes
        self._reading: asyncio.Task[_Pages] | None = None
        self._read_at = 0.0  # when the last reading ended
        self.lost = asyncio.Event()  # the bus

    async def answer(self, request: HttpRequest) -> Page:
        if request.path == "/":
            page = b'<!DOCTYPE html><title>mfc-dbus</title><a href="/metrics">Metrics</a>\n'
            return Page(HTTPStatus.OK, page, "text/html; charset=utf-8")
        if request.path != "/metrics":
            return Page(HTTPStatus.NOT_FOUND, b"There is only /metrics\n")
        try:
            pages = await self._read()
        except ClientError as error:
            if error.name == "Disconnected":
                self.lost.set()
            return Page(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode())
        return pages.page(_choose_format(request.headers.get("accept", "")))

    async def _read(self) -> _Pages:
        """Return the pages of a reading that is fresh. Raises ClientError."""
        old = self._reading
        if old is None or (old.done() and time.monotonic() - self._read_at > _FRESH):
            self._reading = old = asyncio.create_task(self._read_anew())
        return await asyncio.shield(old)  # one who leaves takes it from nobody else

    async def _read_anew(self) -> _Pages:
        try:
            return _Pages(await read(self._client), self._max_routes)
        finally:
            self._read_at = time.monotonic()


def _choose_format(accept: str) -> str:
    """Return the format for whoever accepts this; all scrapers read plain text."""
    types = {each.partition(";")[0].strip() for each in accept.split(",")}
    return "openmetrics" if "application/openmetrics-text" in types else "text"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(sock) for sock in _sockets(arguments.listen)]
            return asyncio.run(_serve(sockets, arguments.routes))
    except (OSError, ClientError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return FAILED


async def _serve(sockets: Sequence[socket.socket], max_routes: int) -> int:
    """Serve until told to stop, or until the bus has gone. Raises ClientError, OSError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Client.open() as client, contextlib.AsyncExitStack() as stack:
        exporter = Exporter(client, max_routes)
        server = Server(exporter.answer)
        for sock in sockets:
            await stack.enter_async_context(await server.listen(sock))
            print(f"{PROGRAM}: listening on {_name(sock)}", file=sys.stderr, flush=True)
        ends = [asyncio.create_task(event.wait()) for event in (stop, exporter.lost)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if exporter.lost.is_set():
            raise ClientError("Disconnected", "The bus has gone")
    return STOPPED


def _sockets(address: tuple[str, int]) -> list[socket.socket]:
    """Return the sockets that systemd hands over, or else one on an address. Raises OSError."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        count = int(os.environ.get("LISTEN_FDS", "0"))
        return [socket.socket(fileno=_LISTEN_FDS_START + number) for number in range(count)]
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return [socket.create_server(address, family=family)]


def _name(sock: socket.socket) -> str:
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return str(name)
    host, port, *_ = name
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
