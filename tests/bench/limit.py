"""What memory the daemon takes with as many routes as its settings allow, under the unit's limit.

Each kind of route has a daemon of its own, in a control group with MemoryMax= of the unit: one that
takes more is ended by the kernel. Usage: make bench-memory [ARGS='--routes 200000 exact comments'],
as root, where the memory controller is one of cgroup v1.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Self

from lab.bus import DATA
from lab.daemon import PROGRAMS

from bench.ground import FIRST, SOURCE, Ground, group
from mfc_dbus.client import Client, ClientError, finish
from mfc_dbus.config.settings import Settings
from mfc_dbus.model.comments import MAX_COMMENT

OIFS = [f"o{n}" for n in range(31)]  # beside the iif they are all that a table has room for
_LINKS = ["in", *OIFS]
_CLI = PROGRAMS / "mfc-dbus-cli"
_CONTROLLER = Path("/sys/fs/cgroup/memory")
_MOST = 8 << 20  # bytes of a document; the bus carries more, but it would take long
_TIMEOUT = 600.0
_MIB = 1 << 20

_COLUMNS = (
    *("kind", "step", "s", "RSS, MiB", "highest RSS", "highest of the group"),
    *("no room at first", "killed"),
)

_Entry = dict[str, Any]


def exact(n: int, oif: str) -> _Entry:
    return {"source": SOURCE, "group": group(FIRST + n), "iif": "in", "oifs": [oif]}


def any_source(n: int, oif: str) -> _Entry:
    return exact(n, oif) | {"source": "*"}


def prefix(n: int, oif: str) -> _Entry:
    return exact(n, oif) | {"source": "*", "group": f"{group(FIRST + 2 * n)}/31"}


def any_source_31_oifs(n: int, oif: str) -> _Entry:
    """No two have their oifs in the same order, or the same TTL thresholds."""
    oifs = Random(n).sample(OIFS, len(OIFS))
    ttls = {oifs[0]: n % 250 + 2, oifs[1]: n // 250 % 250 + 2}
    return any_source(n, oif) | {"oifs": oifs, "ttls": ttls | {oif: 254}}


def comments(n: int, oif: str) -> _Entry:
    """No two have the same comment, and each has a source of its own."""
    source = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255 or 1}"
    return exact(n, oif) | {"source": source, "comment": f"{n} {oif} ".ljust(MAX_COMMENT, "ä")}


KINDS: Mapping[str, Callable[[int, str], _Entry]] = {
    each.__name__: each for each in (exact, any_source, prefix, any_source_31_oifs, comments)
}


class ControlGroup:
    """A context manager: a control group of its own with a limit of memory, and no swap."""

    def __init__(self, limit: str) -> None:
        of_ours = Path("/proc/self/cgroup").read_text()
        (name,) = re.findall(r"^\d+:memory:/(.*)$", of_ours, re.MULTILINE)
        self._path: Path = _CONTROLLER / name / f"mfc-dbus-{os.getpid()}"
        self._limit = limit

    def __enter__(self) -> Self:
        self._path.mkdir()
        self._write("memory.limit_in_bytes", self._limit)
        self._write("memory.memsw.limit_in_bytes", self._limit)
        return self

    def __exit__(self, *_: object) -> None:
        self._path.rmdir()

    def take(self, pid: int) -> None:
        self._write("cgroup.procs", str(pid))

    def forget(self) -> None:
        """Begin anew to look for the highest."""
        self._write("memory.max_usage_in_bytes", "0")
        self._write("memory.failcnt", "0")

    @property
    def highest(self) -> int:
        """Bytes since it was forgotten, of files that are kept in memory too."""
        return int(self._read("memory.max_usage_in_bytes"))

    @property
    def failures(self) -> int:
        """How often there was no room until something was reclaimed."""
        return int(self._read("memory.failcnt"))

    @property
    def killed(self) -> int:
        (count,) = re.findall(r"^oom_kill (\d+)$", self._read("memory.oom_control"), re.MULTILINE)
        return int(count)

    def _read(self, name: str) -> str:
        return Path(self._path, name).read_text()

    def _write(self, name: str, text: str) -> None:
        (self._path / name).write_text(text)


class Trial(Ground):
    """A daemon with routes of one kind, and what it takes after each step."""

    def __init__(self, control_group: ControlGroup, kind: str, count: int) -> None:
        super().__init__(links=zip(_LINKS[::2], _LINKS[1::2], strict=True))
        self._group, self._kind, self._count = control_group, kind, count

    def run(self, repeat: int) -> None:
        with self._step("start with none"):
            self.start()
        with self._monitor():
            with self._step("apply, all new"):
                self._apply("o0")
            for turn in range(1, repeat + 1):
                with self._step(f"apply, all changed, {turn}"):
                    self._apply(f"o{turn % 2}")
            for turn in range(1, repeat + 1):
                with self._step(f"apply, the same, {turn}"):
                    self._apply(f"o{repeat % 2}")
        with self._step("show"):
            self._cli("--json", "show")
        with self._step("export (Describe)"):
            self._cli("export")
        with self._step("restart with the sockets kept"):
            self.start()
        self.manager.forget_all()
        with self._step("restart from the store"):
            self.start()
        with self._step("flush"):
            self._cli("mfc", "flush")
        assert "Traceback" not in self.daemon.log, self.daemon.log

    def start(self) -> None:
        super().start()
        self._group.take(self.pid)
        self.manager.wait_for("mroute-ipv4", "mroute-ipv6")

    def _apply(self, oif: str) -> None:
        """Apply in pieces: mfc-dbus-cli would look at all routes that there are for each."""
        entry = KINDS[self._kind]
        with Client.open_blocking(self.bus.address) as client:
            for document in pieces(entry(n, oif) for n in range(self._count)):
                finish(client.apply(document, merge=True))

    def _cli(self, *arguments: str) -> None:
        with tempfile.TemporaryFile() as answer:
            subprocess.run(
                [_CLI, *arguments],
                env=self._environment,
                stdout=answer,
                timeout=_TIMEOUT,
                check=True,
            )

    @contextmanager
    def _monitor(self) -> Iterator[None]:
        """Somebody sees all changes."""
        with subprocess.Popen(
            [_CLI, "monitor"], env=self._environment, stdout=subprocess.DEVNULL
        ) as process:
            try:
                yield
                assert process.poll() is None, "it could not go on"
            finally:
                process.terminate()

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": self.bus.address}

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        self._group.forget()
        with suppress(AttributeError, OSError):  # there is none yet
            Path(f"/proc/{self.daemon.process.pid}/clear_refs").write_text("5")
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._show(what, time.perf_counter() - begin)

    def _show(self, what: str, took: float) -> None:
        status = self.daemon.status()  # of one that was ended has no memory in it
        mib = [int(status.get(name, "0").split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]
        mib.append(self._group.highest / _MIB)
        numbers = (*(f"{each:.0f}" for each in mib), f"{self._group.failures}")
        print_row((self._kind, what, f"{took:.1f}", *numbers, f"{self._group.killed}"))


def print_row(cells: Sequence[str]) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def pieces(entries: Iterator[_Entry]) -> Iterator[str]:
    """Write documents that the bus carries."""
    lines: list[str] = []
    size = 0
    for entry in entries:
        lines.append(json.dumps(entry, ensure_ascii=False))
        size += len(lines[-1].encode())
        if size > _MOST:
            yield _document(lines)
            lines, size = [], 0
    if lines:
        yield _document(lines)


def _document(lines: Sequence[str]) -> str:
    return f'{{"route": [{",".join(lines)}]}}'


def unit_limit() -> str:
    """Read what systemd lets the service have."""
    text = (DATA / "mfc-dbus.service.in").read_text()
    (limit,) = re.findall(r"^MemoryMax=(.*)$", text, re.MULTILINE)
    return str(limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    most = Settings().max_routes
    parser.add_argument("--routes", type=int, default=most, help=f"how many, default {most}")
    parser.add_argument("--limit", default=unit_limit(), help="bytes, default that of the unit")
    parser.add_argument("--repeat", type=int, default=2, help="applies of each kind, default 2")
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; default all")
    arguments = parser.parse_args()
    print_row(_COLUMNS)
    print_row(["---"] * len(_COLUMNS))
    for kind in arguments.kinds or KINDS:
        with (
            ControlGroup(arguments.limit) as control_group,
            Trial(control_group, kind, arguments.routes) as trial,
            suppress(ClientError, OSError, subprocess.SubprocessError),  # the table tells
        ):
            trial.run(arguments.repeat)


if __name__ == "__main__":
    main()
