"""A router between links, with senders and receivers at their far ends.

      outside           router            outside
                     ┌──────────┐
    up0 ───────── up0│          │down0 ───────── down0
    up1 ───────── up1│          │down1 ───────── down1
     …             … │          │ …               …
    senders          └──────────┘            receivers

Each line is a veth pair whose ends have the same name. All far ends are in one namespace,
`outside`, which forwards nothing and collects what arrives, upstream too. No device has an address.
"""

import contextlib
import socket
from typing import NamedTuple, Self

from lab import witness
from lab.netns import Namespace
from lab.packets import Collector, Fence, Packet, Run, Sender


class Addresses(NamedTuple):
    """What the packets of one family carry."""

    source: str
    other_source: str
    group: str
    other_group: str
    any_source: str


ADDRESSES = {
    socket.AF_INET: Addresses("10.1.0.10", "10.1.0.11", "239.1.2.3", "239.1.2.4", "0.0.0.0"),
    socket.AF_INET6: Addresses("fd01::10", "fd01::11", "ff1e::123", "ff1e::124", "::"),
}


class Topology:
    """The router and its links. A context manager; afterwards nothing is left."""

    def __init__(
        self, family: socket.AddressFamily, downstreams: int = 2, upstreams: int = 1
    ) -> None:
        self.family = family
        self.addresses = ADDRESSES[family]
        self.upstreams = [f"up{n}" for n in range(upstreams)]
        self.downstreams = [f"down{n}" for n in range(downstreams)]
        self._links: list[str] = []
        self.run = Run(family)
        with contextlib.ExitStack() as stack:
            self.router = stack.enter_context(contextlib.closing(Namespace()))
            self.outside = stack.enter_context(contextlib.closing(Namespace()))
            self._fence = stack.enter_context(contextlib.closing(Fence(self.outside, self.router)))
            self._collector = stack.enter_context(
                contextlib.closing(Collector(self.run, self.outside))
            )
            self.add_links(*self.upstreams, *self.downstreams)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_links(self, *names: str) -> None:
        """Add links, and wait until they carry packets."""
        self._links += names
        self.router.ip(
            *(
                f"link add name {name} type veth peer name {name} netns {self.outside.path}"
                for name in names
            ),
            *(f"link set dev {name} up" for name in names),
        )
        self.outside.ip(*(f"link set dev {name} up" for name in names))
        self.wait_until_up()

    def add_link_through(self, middle: Namespace, name: str) -> None:
        """Add a link with devices in its middle, `router` and `outside`, that somebody connects."""
        self._links.append(name)
        for namespace, peer in ((self.router, "router"), (self.outside, "outside")):
            namespace.ip(
                f"link add name {name} type veth peer name {peer} netns {middle.path}",
                f"link set dev {name} up",
            )

    def wait_until_up(self) -> None:
        self.router.wait_until_up(self._links)
        self.outside.wait_until_up(self._links)

    def delete_link(self, name: str) -> None:
        self._links.remove(name)
        self.router.ip(f"link delete dev {name}")

    def rename_link(self, name: str, new: str) -> None:
        """Rename both ends. They are down for that, since older kernels want it so."""
        self._links[self._links.index(name)] = new
        for namespace in (self.router, self.outside):
            namespace.ip(
                f"link set dev {name} down",
                f"link set dev {name} name {new}",
                f"link set dev {new} up",
            )

    @property
    def links(self) -> tuple[str, ...]:
        """The names of those that there are."""
        return tuple(self._links)

    def ifindex(self, name: str) -> int:
        """The number that the router knows a device by."""
        with self.router:
            return socket.if_nametoindex(name)

    def sender(
        self,
        upstream: str = "up0",
        *,
        source: str = "",
        group: str = "",
        ttl: int = 64,
        padding: int = 0,
    ) -> Sender:
        """Open a sender at the far end of a link; it is closed with the topology."""
        sender = Sender(
            self.run,
            self.outside,
            upstream,
            source or self.addresses.source,
            group or self.addresses.group,
            ttl,
            padding,
        )
        return self._stack.enter_context(contextlib.closing(sender))

    def packets(self) -> dict[str, list[Packet]]:
        """What arrived at each far end since the last look. All that was sent has been handled."""
        mark = self._fence.follow(self._links, self._links)
        return self._collector.until(mark, self._links)

    def arrived(self) -> dict[str, list[int]]:
        """The numbers of what arrived since the last look, where anything did."""
        return {
            name: [packet.number for packet in packets]
            for name, packets in self.packets().items()
            if packets
        }

    def entries(self) -> set[witness.Entry]:
        """The router's MFC entries."""
        return witness.entries(self.router, self.family)

    def vifs(self) -> dict[int, str]:
        """The router's VIFs."""
        return witness.vifs(self.router, self.family)
