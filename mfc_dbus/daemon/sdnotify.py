"""Speaks with systemd: readiness, status, the watchdog, and sockets that it keeps over a restart.

Source: sd_notify(3), sd_listen_fds(3), systemd.service(5) on FileDescriptorStoreMax.
"""

import array
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Self

from mfc_dbus.model.quoting import printable

log = logging.getLogger(__name__)

_LISTEN_FDS_START = 3
_MAX_STATUS = 1000  # characters; systemd leaves a message out that is above 4 KiB


class ServiceManager:
    """The service manager that started this process, or nobody."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Open the socket to it now, while there are file descriptors. Raises OSError."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        usec = int(environment.get("WATCHDOG_USEC", 0))
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.exists = bool(address)
        # Seconds of silence after which it ends this process; 0: never.
        self.watchdog = usec / 1e6 if mine else 0.0
        self._status = ""
        self._hears = True
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket:
            self._socket.close()

    def notify(self, *assignments: str, fds: Sequence[int] = ()) -> None:
        """Send assignments like READY=1. Does nothing where there is no service manager."""
        if self._socket is None:
            return
        data = "\n".join(assignments).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([data], rights, 0, self._address)
        except OSError as error:  # no reason to stop forwarding
            if self._hears:
                log.warning("The service manager does not hear %s: %s", assignments[0], error)
            self._hears = False
        else:
            self._hears = True

    def tell_of_long_work(self, seconds: int) -> None:
        """Let a start or an end take longer than the unit allows, so many seconds from now on."""
        self.notify(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}")

    def describe(self, status: str) -> None:
        """Have the service manager show this status, one line, if it is another than before."""
        if status != self._status:
            self._status = status
            shown = printable(status)
            if len(shown) > _MAX_STATUS:
                shown = shown[:_MAX_STATUS] + "…"
            self.notify(f"STATUS={shown}")

    def keep(self, name: str, fd: int) -> None:
        """Have it keep a copy of a file descriptor, also when this process dies."""
        # Without FDPOLL=0 an error on the socket would end the keeping.
        self.notify("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", fds=[fd])

    def forget(self, name: str) -> None:
        """Have it close the copies that it keeps under a name."""
        self.notify("FDSTOREREMOVE=1", f"FDNAME={name}")


def kept_fds(environment: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the file descriptors that the service manager kept, with their names.

    No program inherits them from us. One without a name is called "unknown", as by
    sd_listen_fds_with_names(3).
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environment.get("LISTEN_FDS", 0))
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    fds = range(_LISTEN_FDS_START, _LISTEN_FDS_START + count)
    for fd in fds:
        os.set_inheritable(fd, False)
    names += [""] * (count - len(names))
    return [(name or "unknown", fd) for name, fd in zip(names, fds, strict=False)]
