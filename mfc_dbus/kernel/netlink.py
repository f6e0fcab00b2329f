"""Netlink: requests, a socket that receives events, and the layout of messages.

Only OSError is raised here. Source: netlink(7), rtnetlink(7).
"""

import os
import socket
import struct
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import NamedTuple

from mfc_dbus.kernel.socket_owner import SocketOwner

RTNLGRP_LINK = 1
RTNLGRP_IPV4_MROUTE = 6
RTNLGRP_IPV6_MROUTE = 10
RTNL_FAMILIES = {socket.AF_INET: 128, socket.AF_INET6: 129}  # RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR
NLM_F_REQUEST = 0x1
NLM_F_REQUEST_ACK = 0x5
NLM_F_REQUEST_DUMP = 0x301
UINT32 = struct.Struct("=L")

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_GET_STRICT_CHK = 12
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 * 1024 * 1024
_MESSAGE = 1024 * 1024
_ERRORS = 8  # in a row, after which `receive` ends; the next call tries again
_MOST_WAITING = 65_536  # messages: as long as the shortest are, the buffer holds fewer
_SOME = 16  # messages that are thrown away at once
_NLMSGHDR = struct.Struct("=LHHLL")  # length, type, flags, sequence number, port
RTATTR = struct.Struct("=HH")  # length, type
_INT32 = struct.Struct("=i")
_NLA_F_NESTED = 0x8000


class Message(NamedTuple):
    """A netlink message: its body is at `start` to `end` in the received bytes."""

    type: int
    flags: int
    start: int
    end: int


def messages(data: bytes) -> Iterator[Message]:
    """Yield the messages in received bytes, without one that is cut off."""
    at, end, size, unpack = 0, len(data), _NLMSGHDR.size, _NLMSGHDR.unpack_from
    while at + size <= end:
        length, type_, flags, _, _ = unpack(data, at)
        if length < size or at + length > end:
            return
        yield Message(type_, flags, at + size, at + length)
        at += length + 3 & ~3  # the next begins at a multiple of 4, as attributes do


def attributes(data: bytes, start: int, end: int) -> list[tuple[int, bytes]]:
    """Return type and value of each attribute in a message, or in a nested attribute."""
    found = []
    at, size, unpack = start, RTATTR.size, RTATTR.unpack_from
    while at + size <= end:
        length, type_ = unpack(data, at)
        if length < size or at + length > end:
            break
        found.append((type_ & ~_NLA_F_NESTED, data[at + size : at + length]))
        at += length + 3 & ~3
    return found


def attribute(type_: int, value: bytes) -> bytes:
    """Write an attribute, padded so that the next one begins at a multiple of 4."""
    length = RTATTR.size + len(value)
    return RTATTR.pack(length, type_) + value + bytes(-length % 4)


def ask(
    type_: int, flags: int, body: bytes, *, strict: bool = False
) -> Generator[tuple[bytes, Message], None, None]:
    """Send a request, and yield each message of the answer after the bytes that hold it.

    The last message marks the end of the answer. Raises OSError, also for an error in the answer.
    """
    with Answer(type_, flags, body, strict=strict) as answer:
        while not answer.done:
            data = answer.receive()
            for message in messages(data):
                answer.note_end(data, message)
                yield data, message


class Answer(SocketOwner):
    """The answer to a request, piece by piece; then it is `done`."""

    def __init__(self, type_: int, flags: int, body: bytes, *, strict: bool = False) -> None:
        """Send the request. strict: the kernel is to heed all that a request for a dump says."""
        self.done = False
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            if strict:
                self._sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
            self._sock.bind((0, 0))
            self._sock.send(_NLMSGHDR.pack(_NLMSGHDR.size + len(body), type_, flags, 1, 0) + body)
        except OSError:
            self._sock.close()
            raise

    def receive(self) -> bytes:
        """Return the next piece, which the kernel makes now: milliseconds in a large table."""
        return self._sock.recv(_MESSAGE)

    def note_end(self, piece: bytes, message: Message) -> None:
        """Note whether a message is the last one. Raises OSError if it is an error."""
        if message.type in (_NLMSG_ERROR, _NLMSG_DONE):
            self.done = True
            (number,) = _INT32.unpack_from(piece, message.start)
            if number:
                raise OSError(-number, os.strerror(-number))


class EventSocket(SocketOwner):
    """A socket that turns readable when an event happens in this network namespace."""

    def __init__(self, *groups: int) -> None:
        """groups: RTNLGRP_… numbers."""
        self._stale = 0  # messages, at most, that are older than the last loss
        self._sock = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        try:
            with suppress(PermissionError):
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            self._sock.bind((0, 0))
            for group in groups:
                self._sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except OSError:
            self._sock.close()
            raise

    def receive(self) -> Iterator[bytes | None]:
        """Yield the bytes that wait, each with one message or more; None where some were lost.

        Every error that the kernel reports on this socket means a loss: ENOBUFS where nobody read
        in time, EMSGSIZE where the kernel had no room to write its message. It tells at once, and
        adds nothing more until all that waits is read: that is older than what was lost, and
        thrown away, with a None now and then. So what is yielded later is newer.
        """
        errors = 0
        while errors < _ERRORS:
            try:
                message = self._sock.recv(1 if self._stale else _MESSAGE)
            except BlockingIOError:
                self._stale = 0
                return
            except OSError:
                errors += 1
                self._stale = _MOST_WAITING
                yield None
                continue
            errors = 0
            if not self._stale:
                yield message
                continue
            self._stale -= 1
            if self._stale % _SOME == 0:
                yield None
