"""As much of an HTTP server as a scraper needs, with a limit on everything that a client can do."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from mfc_dbus.loop.events import Guard

_MAX_CLIENTS = 32
_MAX_REQUEST = 8 * 1024  # bytes
_TIMEOUT_OF_REQUEST = 2.0  # seconds to send it
_TIMEOUT = 10.0  # seconds to take the answer


class HttpRequest(NamedTuple):
    """A request; the names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


class Page(NamedTuple):
    """An answer."""

    status: HTTPStatus
    body: bytes
    type: str = "text/plain; charset=utf-8"


class Server:
    """Answers requests, one a connection.

    Where there are too many, the oldest one goes that waits for no answer.
    """

    def __init__(self, answer: Callable[[HttpRequest], Awaitable[Page]]) -> None:
        self._answer = answer
        self._clients = 0
        self._idle: dict[asyncio.StreamWriter, None] = {}  # who waits for no answer, in order
        self._guard = Guard("the exporter")

    async def listen(self, sock: socket.socket) -> asyncio.Server:
        """Answer from now on whoever connects to a socket that is bound."""
        return await asyncio.start_server(self._serve, sock=sock, limit=_MAX_REQUEST)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        self._idle[writer] = None
        if self._clients > _MAX_CLIENTS:
            self._send_away(next(iter(self._idle)))
        try:
            if not writer.is_closing():
                with contextlib.suppress(OSError, TimeoutError):
                    await self._converse(reader, writer)
        finally:
            if writer in self._idle:
                self._send_away(writer)

    def _send_away(self, writer: asyncio.StreamWriter) -> None:
        del self._idle[writer]
        self._clients -= 1
        writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_OF_REQUEST):
                request = _parse(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError:
            return
        except (ValueError, asyncio.LimitOverrunError):
            method, page = "GET", Page(HTTPStatus.BAD_REQUEST, b"This is no request\n")
        else:
            if writer.is_closing():
                return
            del self._idle[writer]
            try:
                method, page = request.method, await self._respond(request)
            finally:
                self._idle[writer] = None
        head = (
            f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
            f"Content-Type: {page.type}\r\n"
            f"Content-Length: {len(page.body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        writer.write(head.encode() + (b"" if method == "HEAD" else page.body))
        async with asyncio.timeout(_TIMEOUT):
            writer.write_eof()
            await writer.drain()
            # What the client still sends would have the kernel drop the answer at the close.
            while await reader.read(_MAX_REQUEST):
                pass

    async def _respond(self, request: HttpRequest) -> Page:
        if request.method not in ("GET", "HEAD"):
            return Page(HTTPStatus.METHOD_NOT_ALLOWED, b"There is only GET\n")
        with self._guard:
            return await self._answer(request)
        return Page(HTTPStatus.INTERNAL_SERVER_ERROR, b"The exporter failed; its log says how\n")


def _parse(head: bytes) -> HttpRequest:
    """Read a request up to its empty line. Raises ValueError."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, version = first.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    fields = [line.partition(":") for line in lines]
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    return HttpRequest(method, path.partition("?")[0], headers)
