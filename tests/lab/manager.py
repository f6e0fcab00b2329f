"""What systemd does for a service that it starts: it hears of its state, and keeps its sockets."""

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

_TIMEOUT = 20.0
_LISTEN_FDS_START = 3
_OUT_OF_THE_WAY = 100
# It wants to know its own pid, and its sockets in a row.
_START = """\
export LISTEN_PID=$$
exec "$@" {redirections}
"""


class Manager:
    """A context manager; it forgets all sockets at the end.

    kept: the sockets by name. kept_when_ready: the names of those that were when it was told so.
    alive: how often it was told that the service is. watchdog: seconds in which it wants to be.
    status: the service's last word on itself.
    """

    watchdog = 0.0

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.kept_when_ready: set[str] = set()
        self.alive = 0
        self.status = ""
        self.extended: list[float] = []  # seconds, each time that a start or an end may take longer
        self._ready = 0
        self._status_changes = threading.Condition()
        with contextlib.ExitStack() as stack:
            directory = Path(tempfile.mkdtemp(prefix="mfc-dbus-manager-"))
            stack.callback(shutil.rmtree, directory)
            self._path = directory / "notify"
            self._socket = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._socket.bind(str(self._path))
            stack.callback(self.forget_all)
            thread = threading.Thread(target=self._listen)
            thread.start()
            stack.callback(thread.join)
            stack.callback(self._say_nothing_more)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "NOTIFY_SOCKET": str(self._path),
            "LISTEN_FDS": str(len(self.kept)),
            "LISTEN_FDNAMES": ":".join(self.kept),
            "WATCHDOG_USEC": f"{self.watchdog * 1e6:.0f}",
        }

    def hand_over(self, command: Sequence[str]) -> tuple[list[str], Sequence[int]]:
        """Wrap a command so that it gets what is kept; the command, and what it must inherit."""
        fds = tuple(self.kept.values())
        redirections = " ".join(
            f"{number}<&{fd} {fd}<&-" for number, fd in enumerate(fds, _LISTEN_FDS_START)
        )
        script = _START.format(redirections=redirections)
        return ["bash", "-c", script, "bash", *command], fds

    def keep(self, name: str, fd: int) -> None:
        """Keep a copy."""
        self.forget(name)
        # Out of the way of the numbers that they are handed over under.
        self.kept[name] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)

    def forget(self, name: str) -> None:
        if name in self.kept:
            os.close(self.kept.pop(name))

    def forget_all(self) -> None:
        """What a stop does."""
        for name in [*self.kept]:
            self.forget(name)

    def wait_for(self, *names: str) -> None:
        """Return when these are kept, and no others."""
        with self._status_changes:
            if not self._status_changes.wait_for(lambda: self.kept.keys() == {*names}, _TIMEOUT):
                raise TimeoutError(f"what is kept: {', '.join(self.kept)}")

    def wait_until_ready(self, times: int) -> None:
        """Return when it was told so often that the service is ready."""
        with self._status_changes:
            if not self._status_changes.wait_for(lambda: self._ready >= times, _TIMEOUT):
                raise TimeoutError(f"the service was ready {self._ready} times")

    def wait_for_status(self, begins: str) -> None:
        """Return when the status that it was told begins so; a whole one ends there."""

        def is_told() -> bool:
            rest = self.status.removeprefix(begins)
            return self.status.startswith(begins) and not rest.startswith(";")

        with self._status_changes:
            if not self._status_changes.wait_for(is_told, _TIMEOUT):
                raise TimeoutError(f"the status is: {self.status}")

    def _listen(self) -> None:
        while True:
            data, fds, _, _ = socket.recv_fds(self._socket, 4096, 8)
            lines = data.decode().splitlines()
            if not lines:
                return
            with self._status_changes:
                self._hear(dict(line.split("=", 1) for line in lines), fds)
                self._status_changes.notify_all()
            for fd in fds:
                os.close(fd)

    def _hear(self, assignments: Mapping[str, str], fds: Sequence[int]) -> None:
        if "READY" in assignments:
            self._ready += 1
            self.kept_when_ready = {*self.kept}
        self.alive += "WATCHDOG" in assignments
        self.status = assignments.get("STATUS", self.status)
        if "EXTEND_TIMEOUT_USEC" in assignments:
            self.extended.append(int(assignments["EXTEND_TIMEOUT_USEC"]) / 1e6)
        if "FDSTORE" in assignments:
            (fd,) = fds
            self.keep(assignments["FDNAME"], fd)
        if "FDSTOREREMOVE" in assignments:
            self.forget(assignments["FDNAME"])

    def _say_nothing_more(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", str(self._path))
