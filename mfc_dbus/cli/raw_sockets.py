"""The raw sockets by which a multicast table is owned; for root alone, the processes that do."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# The file that lists raw sockets, and the protocol of those that own a table: IGMP, ICMPv6.
_LISTS = {"ipv4": ("raw", 2), "ipv6": ("raw6", 58)}

_NET = Path("/proc/net")
_SERVICE = "mfc-dbusd"
_OWNER = "3"  # references to the socket


class Holder(NamedTuple):
    """A process that holds such a socket. unit: the service of systemd that it is of, if any."""

    pid: int
    name: str
    unit: str = ""


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

    In IPv4 the kernel refers once more to the socket that owns a table (ip_ra_control), and then
    the others are left out; in IPv6 nothing tells them apart.
    """
    listed = [columns for columns in _listed(family) if len(columns) > 10]
    owning = [columns for columns in listed if family == "ipv4" and columns[10] == _OWNER]
    sockets = {f"socket:[{columns[9]}]" for columns in owning or listed}
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
                    yield Holder(int(process.name), name, _unit(process)), held


def _unit(process: Path) -> str:
    """Return the service of a process, but for that which this program is a part of itself."""
    units = []
    for each in (process, Path("/proc/self")):
        with suppress(OSError):
            last = (each / "cgroup").read_text().splitlines()[-1].rpartition("/")[2]
            units.append(last if last.endswith(".service") else "")
    return units[0] if len(set(units)) == 2 else ""


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""
