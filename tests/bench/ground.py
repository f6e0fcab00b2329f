"""What all measures stand on: routes, a network with a daemon in it, and what processes take."""

import asyncio
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple, Self

from lab.bus import PrivateBus
from lab.daemon import PROGRAMS, Daemon
from lab.manager import Manager
from lab.netns import Namespace

SOURCE = "10.0.0.1"
TIMEOUT = 300.0  # seconds for a step, however slow
LINKS = (("in", "out"), ("other", "another"))  # the two ends of each
FIRST = 256  # number of a group: that of 239.0.1.0
_IDLE = 0.3  # of one processor: below it the daemon only answers who measures; work takes most
_LOOK = 1.0  # seconds
_TICK = os.sysconf("SC_CLK_TCK")


class Version(NamedTuple):
    """An installed version: its name where there are several, and where its programs are.

    library: the D-Bus library that its daemon uses; "" leaves it the choice.
    """

    name: str = ""
    programs: Path = PROGRAMS
    library: str = ""


INSTALLED = Version()


class Plan(NamedTuple):
    """How much is measured, and of which versions."""

    routes: int
    smcroute_routes: int = 5_000  # fewer: its time grows by their square
    runs: int = 3
    versions: Sequence[Version] = (INSTALLED,)


class Cost(NamedTuple):
    """Seconds, of CPU where it says whose."""

    wall: float
    daemon: float
    command: float


def group(number: int) -> str:
    return f"239.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def groups(count: int) -> Iterable[str]:
    return map(group, range(FIRST, FIRST + count))


def document(count: int, oif: str = "out") -> str:
    routes = [{"source": SOURCE, "group": g, "iif": "in", "oifs": [oif]} for g in groups(count)]
    return json.dumps({"route": routes})


def process_cpu(pid: int) -> float:
    """Read the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident(pid: int) -> int:
    """Read the resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def run(
    command: Sequence[str | Path], *, daemon: int = 0, address: str = "", text: str = ""
) -> Cost:
    """Run a command to its end, and tell what it cost.

    daemon: the pid of the one that works for it. address: of the bus. text: its standard input.
    """

    def cpu() -> tuple[float, float]:
        return process_cpu(daemon) if daemon else 0, _children_cpu()

    before = cpu()
    begin = time.perf_counter()
    done = subprocess.run(
        command,
        env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address},
        input=text,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT,
    )
    wall = time.perf_counter() - begin
    if done.returncode:
        raise OSError(f"{command[0]} ended with {done.returncode}: {done.stderr}")
    spent = (after - before for after, before in zip(cpu(), before, strict=True))
    return Cost(wall, *spent)


def _children_cpu() -> float:
    """Read the CPU time of the processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def go_first() -> None:
    """Keep others on this machine out of what is measured, as far as one may."""
    with suppress(OSError):
        os.nice(-15)


class Ground:
    """A network, a bus, and the daemon of a version under a manager. A context manager."""

    daemon: Daemon

    def __init__(
        self, version: Version = INSTALLED, links: Iterable[tuple[str, str]] = LINKS
    ) -> None:
        self.version = version
        with ExitStack() as stack:
            self.namespace = stack.enter_context(closing(Namespace()))
            for ends in links:
                self.namespace.ip(
                    "link add {} type veth peer name {}".format(*ends),
                    *(f"link set {name} up" for name in ends),
                )
            self.bus = stack.enter_context(PrivateBus())
            self.manager = stack.enter_context(Manager())
            self.home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for name in ("state", "runtime", "configuration"):
                (self.home / name).mkdir()
            self._daemons = stack.enter_context(ExitStack())
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start the daemon, or start it anew with the sockets that were kept."""
        self._daemons.close()
        self.daemon = self._daemons.enter_context(
            Daemon(
                self.bus.address,
                self.namespace,
                home=self.home,
                manager=self.manager,
                library=self.version.library,
                programs=self.version.programs,
                wait=False,
            )
        )
        self.daemon.wait_until_ready(TIMEOUT)

    @property
    def pid(self) -> int:
        return self.daemon.process.pid

    def file(self, name: str, text: str) -> Path:
        path = self.home / name
        path.write_text(text)
        return path

    def cli(self, *words: str | Path) -> Cost:
        """Run mfc-dbus-cli."""
        command = [self.version.programs / "mfc-dbus-cli", *words]
        return run(command, daemon=self.pid, address=self.bus.address)

    async def rest(self) -> None:
        """Return when the daemon has nothing more to do."""
        deadline, before = time.monotonic() + TIMEOUT, 1e9
        while time.monotonic() < deadline:
            now = process_cpu(self.pid)
            if now - before < _IDLE * _LOOK and now >= before:
                return
            before = now
            await asyncio.sleep(_LOOK)
        raise TimeoutError("the daemon does not come to rest")
