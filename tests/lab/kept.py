"""Changes of every kind of what is kept, and a keeper in a process of its own, to be killed.

Run as a program it forks a process for each home that it is told of. That opens the keeper, says
"ready", and for each line that comes does what it names; its answer is a line too.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from msgspec import structs

from mfc_dbus.model.desired import Desired, Edit, Key
from mfc_dbus.model.errors import StoreError
from mfc_dbus.model.membership import parse_membership
from mfc_dbus.model.route import Route, parse_route
from mfc_dbus.storage.keeper import Keeper

LOGS = ("new", "going", "full")


def _route(number: int) -> Route:
    return parse_route("10.0.0.1", f"239.1.{number >> 8}.{number & 255}", "eth0", ["eth1"])


def _transient(route: Route) -> Route:
    return structs.replace(route, persistent=False)


DURABLE = [_route(n) for n in range(40)]
TRANSIENT = [_transient(_route(n)) for n in range(1000, 1010)]
TIMED = structs.replace(_route(2000), expires=1 << 60)
JOINED = parse_membership("239.1.1.1", "*", "eth0")
BEFORE: list[Desired] = [*DURABLE, *TRANSIENT, TIMED, JOINED]
_WARMING = parse_route("*", "239.200.0.1", "eth0", ["eth1"])


def _edits(*pairs: tuple[Desired | None, Desired | None]) -> dict[Key, Edit]:
    return {(old or new).key: Edit(old, new) for old, new in pairs}  # type: ignore[union-attr]


def _commented(route: Route) -> Route:
    return structs.replace(route, comment="another")


CHANGES: Mapping[str, Mapping[Key, Edit]] = {
    "add": _edits((None, _route(3000))),
    "add transient": _edits((None, _transient(_route(3000)))),
    "replace": _edits((DURABLE[0], _commented(DURABLE[0]))),
    "delete": _edits((DURABLE[1], None)),
    "flush": _edits(*((route, None) for route in (*DURABLE, *TRANSIENT, TIMED))),
    "apply": _edits(
        *((route, None) for route in (*DURABLE[:10], *TRANSIENT[:5])),
        *((route, _commented(route)) for route in (*DURABLE[10:20], *TRANSIENT[5:])),
        *((None, _route(n)) for n in range(3000, 3100)),
    ),
    "to transient": _edits((DURABLE[2], _transient(DURABLE[2]))),
    "to persistent": _edits(
        (TRANSIENT[0], structs.replace(TRANSIENT[0], persistent=True)),
    ),
    "join": _edits((None, parse_membership("239.1.1.2", "*", "eth0"))),
    "leave": _edits((JOINED, None)),
    "expiry": _edits((TIMED, None)),
    "reload": _edits((DURABLE[3], None), (TRANSIENT[3], None), (JOINED, None)),
}
AFTERWARDS = _edits((None, parse_membership("239.1.1.3", "*", "eth0")))


def do(before: set[Desired], edits: Mapping[Key, Edit]) -> set[Desired]:
    """What is there after a change."""
    old, new = zip(*edits.values(), strict=True)
    return (before - {*old}) | {each for each in new if each}


def open_keeper(home: Path) -> Keeper:
    for name in ("state", "runtime"):
        (home / name).mkdir(parents=True, exist_ok=True)
    return Keeper(home / "state", home / "runtime")


def found(home: Path) -> set[Desired]:
    """What a start finds."""
    with open_keeper(home) as keeper:
        kept: list[Desired] = keeper.read()
        assert len(kept) == len({each.key for each in kept})
        return {*kept}


def prepare(home: Path) -> None:
    """Keep what is there before each change."""
    with open_keeper(home) as keeper:
        keeper.read()
        keeper._write(_edits(*((None, each) for each in BEFORE)))


class Victims:
    """A context manager: processes with a keeper, one after the other."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "lab.kept"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env=os.environ
                    | {"PYTHONPATH": str(Path(__file__).parents[1])}
                    | dict(self._environment),
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._stack.close()

    def start(self, home: Path, log: str) -> None:
        """Open the keeper of a home. log: how far its write-ahead log is then, of LOGS."""
        answer = self.ask(json.dumps([str(home), log]))
        assert answer == "ready", answer

    def ask(self, line: str) -> str:
        """Do a change by its name, or "afterwards"; returns "done", or why it was refused."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().rstrip("\n")

    def kill(self) -> None:
        assert self.ask("kill") == "killed"


def _be_killed(home: Path, log: str) -> None:
    keeper = open_keeper(home)
    keeper.read()
    if log != "new":
        keeper._write(_edits((None, _WARMING)))
        keeper._write(_edits((_WARMING, None)))
    if log == "full":
        assert keeper._store
        keeper._store._database.execute("PRAGMA wal_autocheckpoint = 1")
    print("ready", flush=True)
    while (line := _read_line()) != "kill":
        edits = CHANGES.get(line, AFTERWARDS)
        try:
            keeper._write(edits)
        except StoreError as error:
            print(error, flush=True)
        else:
            print("done", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _read_line() -> str:
    """Read a line and nothing after it, which another process is to read."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


def main() -> None:
    while line := _read_line():
        home, log = json.loads(line)
        pid = os.fork()
        if not pid:
            _be_killed(Path(home), log)
        os.waitpid(pid, 0)
        print("killed", flush=True)


if __name__ == "__main__":
    main()
