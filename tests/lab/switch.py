"""A switch that snoops on IGMP and MLD, with a querier of its own: the kernel's bridge.

    outside          switch           router
             ┌──────────────────┐
    lan ──── │outside     router│ ──── lan
             └──────────────────┘

What nobody asked for it sends to multicast routers alone. Without a querier it would send it to
everybody.
"""

import json
import subprocess
from typing import Any, Self

from lab.netns import Namespace
from lab.topology import Topology

_PORTS = ("router", "outside")


class Switch:
    """A context manager; it is in the middle of a new link of a topology."""

    def __init__(self, lab: Topology, link: str = "lan") -> None:
        self._namespace = Namespace()
        lab.add_link_through(self._namespace, link)
        self._namespace.ip(
            # It floods for this time, of 10 ms, after it has begun to query. In IGMPv2 queries that
            # would be written as 0, and be taken for version 1, which knows no leave.
            "link add name br0 type bridge mcast_snooping 1 mcast_query_response_interval 1"
            " mcast_igmp_version 3 mcast_mld_version 2",
            *(f"link set dev {port} master br0 up" for port in _PORTS),
            # Behind a port there is one host: what that leaves, nobody else wants.
            *(f"link set dev {port} type bridge_slave mcast_fast_leave on" for port in _PORTS),
            "address add fe80::b/64 dev br0 nodad",
            "link set dev br0 up",
        )
        self._namespace.wait_until_up(_PORTS)
        lab.wait_until_up()
        self._namespace.ip("link set dev br0 type bridge mcast_querier 1")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._namespace.close()

    @property
    def router_ports(self) -> set[str]:
        """The ports behind which it knows a multicast router, of either family."""
        return {
            port["port"]
            for bridge in self._database()
            for ports in bridge["router"].values()
            for port in ports
        }

    @property
    def groups(self) -> set[str]:
        """The groups that it knows to be joined behind the port to the router."""
        return {
            entry["grp"]
            for bridge in self._database()
            for entry in bridge["mdb"]
            if entry["port"] == "router"
        }

    def _database(self) -> list[dict[str, Any]]:
        with self._namespace:
            shown = subprocess.run(
                ["bridge", "-json", "-details", "mdb", "show"],
                capture_output=True,
                check=True,
            ).stdout
        database: list[dict[str, Any]] = json.loads(shown)
        return database
