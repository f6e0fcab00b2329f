"""Writes the log to systemd's journal in its native protocol, which takes fields beside the text.

Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ . A message that is too large for a datagram
would be handed over in a file: ours are cut, since none has more to say.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from mfc_dbus.documents.document import write_entry
from mfc_dbus.model.addresses import format_address, format_source, source_prefix
from mfc_dbus.model.desired import Desired
from mfc_dbus.model.journal import Message, Record
from mfc_dbus.model.route import Route

SOCKET = "/run/systemd/journal/socket"
PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}

_MAX_VALUE = 48 * 1024  # bytes; a datagram may have some 200 KiB
_MAX_WAITING = 1000  # messages that the journal has no room for yet
_LOST = "and {} more lines, which the journal had no room for"
_Fields = Iterable[tuple[str, str]]


def leads_to_journal(fd: int, environment: Mapping[str, str]) -> bool:
    """Return whether a file descriptor leads to the journal, as systemd says (systemd.exec(5))."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class JournalHandler(logging.Handler):
    """Sends records of the log, with the values of those about changes, and never waits.

    While the journal has no room they wait here, some of them; of the others it says how many they
    were.
    """

    def __init__(self, identifier: str, path: str = "") -> None:
        """identifier: the program's name. Raises OSError where there is no journal."""
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._identifier = identifier
        self._path = path or SOCKET
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # that tells when there is room
        self._socket = self._connect()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._queue(encode(self._fields(record)))
            self._send()
        except OSError:  # the journal has gone: its stream may still be there
            self._lost += len(self._waiting) - 1  # all but this one
            self._waiting.clear()
            sys.stderr.write(f"{with_priority(record, self.format(record))}\n")
        except Exception:  # noqa: BLE001 - as every handler does: the log ends no program
            self.handleError(record)

    def close(self) -> None:
        with self.lock or contextlib.nullcontext():
            self._leave_socket()
        super().close()

    def _connect(self) -> socket.socket:
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            sock.setblocking(False)
            sock.connect(self._path)
            stack.pop_all()
            return sock

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        yield "MESSAGE", self.format(record)
        yield "PRIORITY", str(PRIORITIES.get(record.levelno, 6))
        yield "SYSLOG_IDENTIFIER", self._identifier
        about = getattr(record, "about", None)
        if isinstance(about, Record):
            yield from fields(about)
        elif record.exc_info:  # no line but that of an internal error has a traceback
            yield "MESSAGE_ID", Message.INTERNAL_ERROR

    def _queue(self, message: bytes) -> None:
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append(message)
        else:
            self._lost += 1

    def _send(self) -> None:
        """Send what waits, as far as there is room, and the rest when there is."""
        while self._waiting:
            if not self._send_one(self._waiting[0]):
                self._await_room()
                return
            self._waiting.popleft()
            if self._lost and not self._waiting:
                self._tell_of_lost()
        if self._is_of_loop():
            self._forget_loop()  # otherwise the event loop does, as there is room

    def _send_one(self, message: bytes) -> bool:
        """Send a message. Return False where there is no room. Raises OSError."""
        for again in (True, False):
            try:
                self._socket.send(message)
                break
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return False
                if not again:  # there is no journal any more
                    raise
                self._leave_socket()
                self._socket = self._connect()
        return True

    def _tell_of_lost(self) -> None:
        told = [
            ("MESSAGE", _LOST.format(self._lost)),
            ("PRIORITY", str(PRIORITIES[logging.WARNING])),
            ("SYSLOG_IDENTIFIER", self._identifier),
            ("MESSAGE_ID", Message.LEFT_OUT),
            ("MFC_LEFT_OUT", str(self._lost)),
        ]
        self._waiting.append(encode(told))
        self._lost = 0

    def _await_room(self) -> None:
        """Have the event loop of this thread, if it has one, say when there is room again."""
        if self._loop is None:
            with contextlib.suppress(RuntimeError):
                loop = asyncio.get_running_loop()
                loop.add_writer(self._socket, self._on_room)
                self._loop = loop

    def _on_room(self) -> None:
        with self.lock or contextlib.nullcontext():
            try:
                self._send()
            except OSError:  # the next line tries again
                self._forget_loop()

    def _leave_socket(self) -> None:
        """Close the socket, in the thread of the event loop that waits for its room."""
        loop, sock = self._loop, self._socket
        if self._is_of_loop():
            self._forget_loop()
            sock.close()
            return
        assert loop is not None
        self._loop = None

        def leave() -> None:
            loop.remove_writer(sock)
            sock.close()

        loop.call_soon_threadsafe(leave)

    def _is_of_loop(self) -> bool:
        """Return whether this thread may change what the event loop waits for."""
        if self._loop is None or not self._loop.is_running():
            return True
        with contextlib.suppress(RuntimeError):
            return asyncio.get_running_loop() is self._loop
        return False

    def _forget_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_writer(self._socket)


def with_priority(record: logging.LogRecord, text: str) -> str:
    """Begin each line with its priority, as the journal expects it of a stream (sd-daemon(3))."""
    prefix = f"<{PRIORITIES.get(record.levelno, 6)}>"
    return "\n".join(prefix + line for line in text.splitlines())


def encode(fields: _Fields) -> bytes:
    """Encode a message. Values of several lines are preceded by their length."""
    message = bytearray()
    for name, text in fields:
        value = text.encode(errors="backslashreplace")[:_MAX_VALUE]
        if b"\n" in value:
            message += b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
        else:
            message += b"%s=%s\n" % (name.encode(), value)
    return bytes(message)


def fields(record: Record) -> Iterator[tuple[str, str]]:
    """Yield the fields of a record; of several oifs each has one of its own."""
    yield "MESSAGE_ID", record.message
    if record.cause is not None:
        yield "MFC_CAUSE", record.cause.kind
        yield "MFC_ACTION", record.cause.act
        if (author := record.cause.author) is not None:
            yield "MFC_UID", str(author.uid)
            yield "MFC_SENDER", author.sender
            if author.user:
                yield "MFC_USER", author.user
            if author.pid:
                yield "MFC_PID", str(author.pid)
        if record.cause.undoes:
            yield "MFC_UNDOES", str(record.cause.undoes)
        yield "MFC_RESULT", record.result
    what = record.after or record.before
    if what is not None:
        yield from _about(what)
    for name, desired in (("MFC_BEFORE", record.before), ("MFC_AFTER", record.after)):
        if desired is not None:
            yield name, write_entry(desired)[1].decode()
    states = (record.old_state, record.state, record.reason)
    for name, value in zip(("MFC_OLD_STATE", "MFC_STATE", "MFC_REASON"), states, strict=True):
        if value:
            yield name, value
    for name, values in record.more.items():
        for value in values:
            yield f"MFC_{name}", value


def _about(what: Desired) -> Iterator[tuple[str, str]]:
    if isinstance(what, Route):
        yield "MFC_SOURCE", format_source(what.source)
        yield "MFC_GROUP", str(what.group)
        yield "MFC_TABLE", str(what.table)
        yield "MFC_IIF", what.iif
        for oif in what.oifs:
            yield "MFC_OIF", oif.name
        if what.expires:
            yield "MFC_EXPIRES", str(what.expires // 1000)
    else:
        yield "MFC_SOURCE", format_source(source_prefix(what.source))
        yield "MFC_GROUP", format_address(what.group)
        yield "MFC_INTERFACE", what.interface
    if what.comment:
        yield "MFC_COMMENT", what.comment
