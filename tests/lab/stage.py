"""The network of the demo: a sender, a router that runs the daemon, and two receivers.

                        ┌───────────┐
     sender             │           │ down1 ─────── receiver 1
    10.0.1.10 ───────── │ up        │              10.0.2.10, fd00:2::10
    fd00:1::10          │  router,  │
                        │ mfc-dbusd │ down2 ─────── receiver 2
                        └───────────┘              10.0.3.10, fd00:3::10

Each in a network namespace of its own; a host's device is eth0.
"""

import contextlib
import os
import socket
import subprocess
from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeVar

from lab import witness
from lab.bus import PrivateBus
from lab.daemon import PROGRAMS, Daemon
from lab.netns import Namespace
from lab.packets import Collector, Fence, Run, Sender

DRAWING = "\n".join((__doc__ or "").splitlines()[2:9])
FAMILIES = (socket.AF_INET, socket.AF_INET6)
SENDER = "up"
RECEIVERS = {"down1": "receiver 1", "down2": "receiver 2"}
_NETWORKS = {"up": 1, "down1": 2, "down2": 3}  # the number in its addresses


class Stream(NamedTuple):
    """A route, and who sends what it is for."""

    source: str  # "*" for any
    group: str
    oifs: tuple[str, ...]
    senders: tuple[str, ...]

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.group else socket.AF_INET

    @property
    def entry(self) -> witness.Entry:
        """What the kernel must have for it; for any source the iif is among the oifs."""
        source, oifs = self.source, self.oifs
        if source == "*":
            source = "::" if self.family == socket.AF_INET6 else "0.0.0.0"
            oifs = ("up", *oifs)
        return witness.Entry(source, self.group, "up", frozenset((oif, 1) for oif in oifs))

    def __str__(self) -> str:
        return f"({self.source}, {self.group})"


STREAMS = (
    Stream("10.0.1.10", "239.1.1.1", ("down1", "down2"), ("10.0.1.10",)),
    Stream("*", "239.2.2.2", ("down2",), ("10.0.1.10", "10.0.1.11")),
    Stream("fd00:1::10", "ff3e::1:1", ("down1", "down2"), ("fd00:1::10",)),
    Stream("*", "ff3e::2:2", ("down2",), ("fd00:1::10", "fd00:1::11")),
)


class Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


def kept(stack: contextlib.ExitStack, thing: C) -> C:
    """Close a thing with the stack."""
    return stack.enter_context(contextlib.closing(thing))


class Network:
    """The namespaces and links; they end with the stack. The router may be one that is there."""

    def __init__(self, stack: contextlib.ExitStack, router: Namespace | None = None) -> None:
        self.router = router or kept(stack, Namespace())
        self.hosts = {link: kept(stack, Namespace()) for link in _NETWORKS}
        for link, number in _NETWORKS.items():
            self._connect(link, number)
            stack.callback(self._disconnect, link)

    def entries(self) -> set[witness.Entry]:
        """The MFC entries of both families, by the kernel's word."""
        return {entry for family in FAMILIES for entry in witness.entries(self.router, family)}

    def _connect(self, link: str, number: int) -> None:
        host = self.hosts[link]
        self.router.ip(
            f"link add name {link} type veth peer name eth0 netns {host.path}",
            f"address add 10.0.{number}.1/24 dev {link}",
            f"address add fd00:{number}::1/64 dev {link} nodad",
            f"link set dev {link} up",
        )
        host.ip(
            f"address add 10.0.{number}.10/24 dev eth0",
            f"address add fd00:{number}::10/64 dev eth0 nodad",
            "link set dev eth0 up",
        )
        self.router.wait_until_up([link])
        host.wait_until_up(["eth0"])

    def _disconnect(self, link: str) -> None:
        """Delete a link, if nobody has done so."""
        if any(each["ifname"] == link for each in self.router.ip_json("link show")):
            self.router.ip(f"link delete dev {link}")


class Stage(Network):
    """The network, and the daemon on a bus of its own. It ends with the stack."""

    def __init__(self, stack: contextlib.ExitStack, *, anonymous: bool) -> None:
        """anonymous: the bus lets in who does not say who he is."""
        super().__init__(stack)
        self.bus = stack.enter_context(PrivateBus(anonymous=anonymous))
        self.daemon = stack.enter_context(Daemon(self.bus.address, self.router))
        self.environment = os.environ | {
            "DBUS_SYSTEM_BUS_ADDRESS": self.bus.address,
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the router."""
        with self.router:
            return subprocess.run(command, env=self.environment, capture_output=True, text=True)


Runs = Mapping[socket.AddressFamily, Run]
Sent = Mapping[Stream, list[int]]
Arrived = Mapping[tuple[Stream, str], list[int]]


def open_senders(
    stack: contextlib.ExitStack, network: Network, runs: Runs
) -> dict[Stream, list[Sender]]:
    host = network.hosts[SENDER]
    return {
        stream: [
            kept(stack, Sender(runs[stream.family], host, "eth0", source, stream.group))
            for source in stream.senders
        ]
        for stream in STREAMS
    }


def open_collectors(
    stack: contextlib.ExitStack, hosts: Mapping[str, Namespace], runs: Runs
) -> dict[tuple[str, socket.AddressFamily], Collector]:
    """Open one for each receiver and family."""
    return {
        (link, family): kept(stack, Collector(run, hosts[link]))
        for link in RECEIVERS
        for family, run in runs.items()
    }


class Traffic:
    """Numbered packets from the sender, and what came of them to each receiver."""

    def __init__(self, stack: contextlib.ExitStack, network: Network) -> None:
        runs = {family: Run(family) for family in FAMILIES}
        self._senders = open_senders(stack, network, runs)
        self._collectors = open_collectors(stack, network.hosts, runs)
        self._fence = kept(stack, Fence(network.hosts[SENDER], network.router))

    def send(self, count: int) -> tuple[Sent, Arrived]:
        """Send so many packets for each stream; their numbers, and those that arrived where."""
        sent = {
            stream: [n for sender in senders for n in sender.send(count // len(senders))]
            for stream, senders in self._senders.items()
        }
        mark = self._fence.follow(["eth0"], RECEIVERS)
        packets = {
            key: collector.until(mark, ["eth0"])["eth0"]
            for key, collector in self._collectors.items()
        }
        arrived = {
            (stream, link): [
                packet.number
                for packet in packets[link, stream.family]
                if packet.group == stream.group
            ]
            for stream in STREAMS
            for link in RECEIVERS
        }
        return sent, arrived
