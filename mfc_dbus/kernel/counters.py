"""Counters of this network namespace under /proc/net: of its interfaces and of IP.

Only OSError is raised here; no privilege is needed. A counter that this kernel does not have, or
writes in another form, is left out. Names are those of nstat(8): IpInReceives, IpExtInMcastPkts,
TcpExtIPReversePathFilter.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_NET = Path("/proc/thread-self/net")


class LinkCount(NamedTuple):
    """Packets of an interface, of whatever protocol.

    tx_packets: those that its driver was given and took.
    """

    rx_packets: int
    tx_packets: int
    tx_dropped: int


def links() -> dict[str, LinkCount]:
    """Return the counters of all interfaces, by name: 10,000 of them take some 40 ms."""
    found = {}
    for line in (_NET / "dev").read_bytes().decode(errors="surrogateescape").split("\n")[2:]:
        name, _, numbers = line.rpartition(":")
        if name:
            columns = numbers.split()
            with suppress(LookupError, ValueError):
                received, sent, dropped = (int(columns[at]) for at in (1, 9, 11))
                found[name.strip(" ")] = LinkCount(received, sent, dropped)
    return found


def ipv4() -> dict[str, int]:
    """Return the counters of IPv4 and TCP, for the whole namespace."""
    found: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        lines = (_NET / file).read_text(errors="replace").splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=False):
            prefix, _, rest = names.partition(":")
            counts = values.split()[1:]
            for name, count in zip(rest.split(), counts, strict=False):
                with suppress(ValueError):
                    found[prefix + name] = int(count)
    return found


def ipv6(interface: str) -> Mapping[str, int]:
    """Return the counters of IPv6 on an interface; none where it has no IPv6, or has gone."""
    found: dict[str, int] = {}
    with suppress(FileNotFoundError):
        for line in (_NET / "dev_snmp6" / interface).read_text(errors="replace").splitlines():
            name, _, value = line.partition(" ")
            with suppress(ValueError):
                found[name.rstrip()] = int(value, 0)
    return found
