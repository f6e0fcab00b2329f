"""What changes in the kernel's multicast routing tables, whoever does it.

OSError is all that comes out. VIFs are not told of, nor what traffic does. Source: rtnetlink(7),
net/ipv4/ipmr.c, net/ipv6/ip6mr.c.
"""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Self

from mfc_dbus.kernel.dump import HeldEntry, messages

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_RTNLGRPS = (6, 10)  # RTNLGRP_IPV4_MROUTE, RTNLGRP_IPV6_MROUTE
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 * 1024 * 1024
_MESSAGE = 1024 * 1024


class EntryChange(NamedTuple):
    """An entry was written, or deleted."""

    entry: HeldEntry
    deleted: bool


class EntryChanges:
    """Changes of MFC entries in all tables of this network namespace."""

    def __init__(self) -> None:
        self._sock = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        try:
            with suppress(PermissionError):
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            self._sock.bind((0, 0))
            for group in _RTNLGRPS:
                self._sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except OSError:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def fileno(self) -> int:
        """Readable when there is something for `read`."""
        return self._sock.fileno()

    def read(self) -> Sequence[EntryChange] | None:
        """Take what has happened since the last time; None: so much that some of it is lost."""
        changes: list[EntryChange] | None = []
        while True:
            try:
                data = self._sock.recv(_MESSAGE)
            except BlockingIOError:
                return changes
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                changes = None
                continue
            if changes is not None:
                changes += [EntryChange(*message) for message in messages(data) if message]
