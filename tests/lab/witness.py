"""What the kernel itself says about the multicast routes of a namespace, by tools not ours."""

import socket
from pathlib import Path
from typing import NamedTuple

from lab.netns import Namespace

IP_OPTIONS = {socket.AF_INET: "-4", socket.AF_INET6: "-6"}
_VIF_FILES = {socket.AF_INET: "ip_mr_vif", socket.AF_INET6: "ip6_mr_vif"}


class Entry(NamedTuple):
    """An MFC entry; oifs are pairs of device and TTL threshold."""

    source: str
    group: str
    iif: str
    oifs: frozenset[tuple[str, int]]
    table: str = "default"


def entries(namespace: Namespace, family: socket.AddressFamily) -> set[Entry]:
    """The MFC entries of all tables, as `ip mroute` shows them."""
    return {
        Entry(
            shown["src"],
            shown["dst"],
            shown.get("iif", ""),
            frozenset((oif["oif"], oif.get("ttl", 1)) for oif in shown.get("multipath", [])),
            shown.get("table", "default"),
        )
        for shown in namespace.ip_json("mroute show table all", IP_OPTIONS[family])
        if shown["state"] == "resolved"
    }


def vifs(namespace: Namespace, family: socket.AddressFamily) -> dict[int, str]:
    """The VIFs of the default table, number and device, as /proc lists them."""
    with namespace:
        lines = Path("/proc/thread-self/net", _VIF_FILES[family]).read_text().splitlines()[1:]
    return {int(line.split()[0]): line.split()[1] for line in lines}
