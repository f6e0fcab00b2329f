"""The raw sockets by which a multicast table is owned; for root alone, the processes that do."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# The file that lists raw sockets, and the protocol of those that own a table: IGMP, ICMPv6.
_LISTS = {"ipv4": ("raw", 2), "ipv6": ("raw6", 58)}

_NET = Path("/proc/net")
_SERVICE = "mfc-dbusd"


class Holder(NamedTuple):
    """A process that holds such a socket."""

    pid: int
    name: str


def unread(family: str) -> int:
    """Return the most bytes that wait in one such socket, as anybody may read."""
    waiting = [0]
    for columns in _listed(family):
        with suppress(LookupError, ValueError):
            waiting.append(int(columns[4].rpartition(":")[2], 16))
    return max(waiting)


def holders(family: str) -> list[Holder]:
    """Return the processes of this network namespace that hold such sockets, but for those of our
    own service, which systemd keeps too. family: "ipv4".
    """
    sockets = {f"socket:[{columns[9]}]" for columns in _listed(family) if len(columns) > 9}
    held = [*_holding(sockets)] if sockets else []
    ours = {one for holder, those in held if holder.name == _SERVICE for one in those}
    return [holder for holder, those in held if those - ours]


def _listed(family: str) -> Iterator[list[str]]:
    """Yield the columns of each such socket, as proc_net(5) has them. family: "ipv4"."""
    file, protocol = _LISTS[family]
    with suppress(OSError):
        for line in (_NET / file).read_text(errors="replace").splitlines()[1:]:
            columns = line.split()
            with suppress(LookupError, ValueError):
                if int(columns[1].rpartition(":")[2], 16) == protocol:
                    yield columns


def _holding(sockets: set[str]) -> Iterator[tuple[Holder, set[str]]]:
    """Yield each process that holds some of these sockets, and which."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # it has ended
                held = {_target(file) for file in (process / "fd").iterdir()} & sockets
                if held:
                    name = (process / "comm").read_text(errors="replace").rstrip("\n")
                    yield Holder(int(process.name), name), held


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""
