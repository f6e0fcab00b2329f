"""The package, installed from this checkout into a machine, as an administrator does it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.machine import Machine
from lab.stage import Stream

TOP = Path(__file__).parents[2]
DROP_IN = Path("run/systemd/system/mfc-dbus.service.d/test.conf")
OBJECT = ("org.example.MulticastForwarding", "/org/example/MulticastForwarding")

_SOURCES = (
    *(".ci", "LICENSE", "Makefile", "README.md", "build/wheels", "data"),
    *("mfc_dbus", "meson.build", "pyproject.toml"),
)
_WRITTEN = ("root/", "tmp/", "var/lib/polkit-1/", "var/lib/systemd/", "var/log/", "var/tmp/")


class Installed:
    """What can be done with it. The environment of the tests has the tools to build it."""

    def __init__(self, machine: Machine) -> None:
        # make removes an environment that is not up to date: it must be its own.
        if sys.prefix == sys.base_prefix or not Path(sys.prefix, "installed").exists():
            raise OSError(f"{sys.prefix} is not an environment of this Makefile: use 'make test'")
        self.machine = machine
        make(TOP, "build/wheels/all")
        # The machine's root is an overlay of ours: no name is free for sure but a new one.
        checkout = Path(tempfile.mkdtemp(prefix="mfc-dbus-", dir=machine.root / "root"))
        self._checkout = "/" / checkout.relative_to(machine.root)
        for name in _SOURCES:
            target = checkout / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (TOP / name).is_dir():
                shutil.copytree(TOP / name, target)
            else:
                shutil.copy2(TOP / name, target)

        self.files_before = self.files()

    def files(self) -> set[str]:
        """What is on the machine's disk and not on ours, but for what any system writes."""
        top = self.machine.changes
        paths = {str(path.relative_to(top)) for path in top.rglob("*")}
        return {
            path
            for path in paths
            if not path.startswith(_WRITTEN) and not os.path.lexists(f"/{path}")
        }

    def make(self, *targets: str) -> str:
        """Run make in the machine's checkout, as an administrator with secrets; what it says."""
        command = _make_command(self._checkout, *targets)
        return self.machine.run("sh", "-c", 'umask 077 && exec "$@"', "sh", *command).stdout

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl; its failure has the service's journal."""
        try:
            return self.machine.run("systemctl", *arguments).stdout.strip()
        except OSError as error:
            raise OSError(f"{error}\n{self.journal()}") from None

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.systemctl("show", "--value", f"--property={name}", "mfc-dbus")

    def threads(self, name: str) -> list[str]:
        """A line of /proc/PID/status, for each thread of the daemon."""
        tasks = self.machine.root / f"proc/{self.show('MainPID')}/task"
        texts = [(task / "status").read_text() for task in tasks.iterdir()]
        fields = [dict(line.split(":", 1) for line in text.splitlines()) for text in texts]
        return [field[name].strip() for field in fields]

    def cli(
        self, *arguments: str, user: str = "root", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.machine.run("mfc-dbus-cli", *arguments, user=user, check=check)

    def add(self, stream: Stream, *options: str) -> None:
        """Add the route of a stream."""
        names = ("-s", stream.source, "-g", stream.group, "-i", "up", "-o", *stream.oifs)
        self.cli("mfc", "add", *names, *options)

    def states(self) -> dict[str, str]:
        """The groups that have routes, and the state of these."""
        shown = json.loads(self.cli("--json", "show").stdout)
        return {route["group"]: route["state"] for route in shown}

    def journal(self) -> str:
        """What the service and systemd have said of it since the last boot."""
        return self.machine.run(
            "journalctl", "--boot", "--unit=mfc-dbus", "--output=cat", "--no-pager"
        ).stdout

    def configure(self, *settings: str) -> None:
        """Change settings of the unit's [Service] section, until the next boot."""
        path = self.machine.root / DROP_IN
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["[Service]", *settings, ""]))
        self.systemctl("daemon-reload")

    def configure_no_more(self) -> None:
        path = self.machine.root / DROP_IN
        if path.exists():
            path.unlink()
            self.systemctl("daemon-reload")

    def wait(self) -> None:
        """Return when the service answers; a call that finds none waits for it."""
        self.machine.run("busctl", "call", *OBJECT, "org.freedesktop.DBus.Peer", "Ping")

    def kill(self) -> None:
        """End the daemon by SIGKILL, and wait until it is dead."""
        pid = self.show("MainPID")
        self.machine.run(
            "sh", "-c", f"kill -9 {pid}; while [ -e /proc/{pid} ]; do sleep 0.01; done"
        )


def make(directory: Path, *targets: str) -> None:
    """Run make with the environment of the tests."""
    subprocess.run(_make_command(directory, *targets), check=True, stdout=subprocess.DEVNULL)


def _make_command(directory: Path, *targets: str) -> Sequence[str]:
    return ("make", "-C", str(directory), *targets, f"VENV={sys.prefix}")


def eventually(condition: Callable[[], bool]) -> None:
    """Return when it holds, where no event tells; TimeoutError after 20 s."""
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it does not come true")
        time.sleep(0.05)
