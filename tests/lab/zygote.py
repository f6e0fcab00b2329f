"""The daemon, started in no time: forked from a process that has all modules loaded."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from lab.netns import Namespace

_TIMEOUT = 20.0

# Each message is what it inherits: names of sockets, and these. The answer is its pid, and when it
# has ended its wait status.
_ZYGOTE = """\
import fcntl
import importlib.metadata
import os
import socket
import sys

import mfc_dbus.daemon.main

importlib.metadata.version("mfc-dbus")
control = socket.socket(fileno=int(sys.argv[1]))
while True:
    names, fds, _, _ = socket.recv_fds(control, 4096, 8)
    if not names:
        break
    pid = os.fork()
    if not pid:
        control.close()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in fds]
        os.closerange(3, 100)
        for number, fd in enumerate(high, 3):
            os.dup2(fd, number)
            os.close(fd)
        kept = names.decode().split()
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDS"] = str(len(kept))
        os.environ["LISTEN_FDNAMES"] = ":".join(kept)
        sys.exit(mfc_dbus.daemon.main.main([]))
    for fd in fds:
        os.close(fd)
    control.send(str(pid).encode())
    control.send(str(os.waitpid(pid, 0)[1]).encode())
"""


class Zygote:
    """A context manager. One daemon at a time; `log` is what all of them have printed."""

    def __init__(self, namespace: Namespace, environment: Mapping[str, str]) -> None:
        with contextlib.ExitStack() as stack:
            self._log = stack.enter_context(tempfile.TemporaryFile("w+"))
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(ours)
            ours.settimeout(_TIMEOUT)
            with namespace, theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _ZYGOTE, str(theirs.fileno())],
                    env=os.environ | environment,
                    stderr=self._log,
                    pass_fds=[theirs.fileno()],
                )
            self._control = ours
            self._pid = 0
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            self.kill()
        self._stack.close()
        self._process.wait()

    @property
    def log(self) -> str:
        return Path(f"/proc/self/fd/{self._log.fileno()}").read_text()

    def start(self, kept: Mapping[str, int]) -> None:
        """Start a daemon, with these sockets by name."""
        names = " ".join(kept).encode() or b" "
        socket.send_fds(self._control, [names], [*kept.values()])
        self._pid = int(self._control.recv(64))

    def kill(self) -> None:
        """End it at once; an error if it has ended by itself."""
        os.kill(self._pid, signal.SIGKILL)
        self._pid = 0
        status = int(self._control.recv(64))
        if status != signal.SIGKILL:
            raise OSError(f"mfc-dbusd ended with wait status {status}: {self.log}")
