"""The daemon, as a process on a private bus and in a network namespace."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lab.manager import Manager
from lab.netns import Namespace

PROGRAMS = Path(sys.executable).parent
CONFIGURATION = "mfc-dbus.toml"
BUS_NAME = "org.example.MulticastForwarding"
_READY = f"Serving {BUS_NAME}\n"
_DIRECTORIES = ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CONFIGURATION_DIRECTORY")
# What this process may have of a service manager of its own.
_MANAGER = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "JOURNAL_STREAM")

# Python and the project may lie where only root can read. What the daemon loads before it gives up
# its capabilities it may read as well; what it loads later is loaded here.
_AS_USER = """\
import sys
import mfc_dbus.daemon.main
from lab.privileges import CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW, become
from mfc_dbus.names import INTERFACE
from mfc_dbus.service.object import contract
contract(INTERFACE)
become(int(sys.argv[1]), keep=(CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW))
sys.exit(mfc_dbus.daemon.main.main([]))
"""


class Daemon:
    """mfc-dbusd; it serves when the constructor returns. `log` is what it has printed.

    uid: run as this user, with the capabilities that the systemd unit would give.
    library: the D-Bus library, dbus_fast or dbus_next.
    home: where its state, runtime and configuration directories are; without one they are its own
    and end with it.
    environment: what else it gets, such as a NOTIFY_SOCKET.
    manager: who keeps its sockets, and hands over those of an earlier one.
    programs: where mfc-dbusd is, for another version than that of this Python.
    """

    def __init__(
        self,
        address: str,
        namespace: Namespace,
        *,
        uid: int | None = None,
        library: str = "",
        home: Path | None = None,
        environment: Mapping[str, str] | None = None,
        manager: Manager | None = None,
        programs: Path = PROGRAMS,
        wait: bool = True,
    ) -> None:
        given = {name: value for name, value in os.environ.items() if name not in _MANAGER}
        environment = given | {"DBUS_SYSTEM_BUS_ADDRESS": address} | dict(environment or {})
        if library:
            environment["MFC_DBUS_BACKEND"] = library
        command = [str(programs / "mfc-dbusd")]
        if uid is not None:
            environment["PYTHONPATH"] = str(Path(__file__).parents[1])
            command = [sys.executable, "-P", "-c", _AS_USER, str(uid)]
        with contextlib.ExitStack() as stack:
            self._log = stack.enter_context(tempfile.TemporaryFile("w+"))
            self.home = home or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="mfc-dbusd-"))
            )
            if uid is not None:
                os.chown(self.home, uid, uid)
            for name in _DIRECTORIES:
                directory = self.home / name.removesuffix("_DIRECTORY").lower()
                environment[name] = str(directory)
                if not directory.exists():
                    directory.mkdir()
                    if uid is not None:
                        os.chown(directory, uid, uid)
            fds: Sequence[int] = ()
            if manager:
                environment |= manager.environment
                command, fds = manager.hand_over(command)
            with namespace:
                self.process = subprocess.Popen(
                    command, env=environment, stderr=self._log, pass_fds=fds
                )
            stack.callback(self.stop)
            if wait:
                self.wait_until_ready()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()

    def configure(self, text: str) -> None:
        """Write its configuration file, which it reads when it starts or is told to reload."""
        (self.home / "configuration" / CONFIGURATION).write_text(text)

    @property
    def memory(self) -> int:
        """Memory of its own in bytes, counted page by page.

        What status has is some hundred pages off, and has the pages of files too, which are there
        or not as the machine has room.
        """
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        (line,) = (each for each in text.splitlines() if each.startswith("Anonymous:"))
        return int(line.split()[1]) * 1024

    def status(self) -> dict[str, str]:
        """What the kernel says of the process, by the names in proc_pid_status(5)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        pairs = [line.split(":", 1) for line in lines]
        return {name: value.strip() for name, value in pairs}

    def wait_until_ready(self, timeout: float = 20) -> None:
        """Return when it serves. It says so on its log, which is a file: look often."""
        deadline = time.monotonic() + timeout
        while _READY not in self.log:
            if self.process.poll() is not None:
                raise OSError(f"mfc-dbusd ended with {self.process.returncode}: {self.log}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"mfc-dbusd does not serve: {self.log}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Tell it to stop; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
