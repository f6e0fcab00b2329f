"""A netlink socket that hears of events. OSError is all that comes out. Source: rtnetlink(7)."""

import errno
import socket
from collections.abc import Iterator
from contextlib import suppress

from mfc_dbus.kernel.owner import SocketOwner

RTNLGRP_LINK = 1
RTNLGRP_IPV4_MROUTE = 6
RTNLGRP_IPV6_MROUTE = 10

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 * 1024 * 1024
_MESSAGE = 1024 * 1024


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
        """Take the messages that there are. None: some were lost, since nobody took them."""
        while True:
            try:
                yield self._sock.recv(_MESSAGE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
