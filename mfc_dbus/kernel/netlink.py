"""Netlink: a socket that hears of events, and what messages are made of.

OSError is all that comes out. Source: netlink(7), rtnetlink(7).
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from mfc_dbus.kernel.socket_owner import SocketOwner

RTNLGRP_LINK = 1
RTNLGRP_IPV4_MROUTE = 6
RTNLGRP_IPV6_MROUTE = 10

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 * 1024 * 1024
_MESSAGE = 1024 * 1024
_ERRORS = 8  # in a row, after which the socket is left alone until it is asked again
_NLMSGHDR = struct.Struct("=LHHLL")  # length, type, flags, sequence number, port
_RTATTR = struct.Struct("=HH")  # length, type
_NLA_F_NESTED = 0x8000


class Message(NamedTuple):
    """A netlink message: where its body is in what was received."""

    type: int
    flags: int
    start: int
    end: int


def messages(data: bytes) -> Iterator[Message]:
    """Go through the messages of what was received; one that is cut off is left out."""
    at = 0
    while at + _NLMSGHDR.size <= len(data):
        length, type_, flags, _, _ = _NLMSGHDR.unpack_from(data, at)
        if length < _NLMSGHDR.size or at + length > len(data):
            return
        yield Message(type_, flags, at + _NLMSGHDR.size, at + length)
        at += length + 3 & ~3  # the next begins at a multiple of 4, as attributes do


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Go through the attributes of a message, or of one of them: type, start and end of each."""
    at = start
    while at + _RTATTR.size <= end:
        length, type_ = _RTATTR.unpack_from(data, at)
        if length < _RTATTR.size or at + length > end:
            return
        yield type_ & ~_NLA_F_NESTED, at + _RTATTR.size, at + length
        at += length + 3 & ~3


class EventSocket(SocketOwner):
    """Hears of what happens in this network namespace from now on: then it is readable."""

    def __init__(self, *groups: int) -> None:
        """groups: RTNLGRP_… numbers."""
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
        """Take the messages that there are. None: some were lost.

        Whatever the kernel reports on this socket means that: ENOBUFS where nobody took them in
        time, EMSGSIZE where it could not write the message that it had for everybody.
        """
        errors = 0
        while errors < _ERRORS:
            try:
                message = self._sock.recv(_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                errors += 1
                yield None
            else:
                errors = 0
                yield message
