"""What the kernel says about multicast memberships: in its own lists, and to the network."""

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from lab.netns import Namespace

# What every device has joined of its own accord.
_OWN = ("224.0.0.1", "224.0.0.106", "ff01::1", "ff02::1", "ff02::6a", "ff02::2", "ff05::2")

_TIMEOUT = 10.0
_ETH_P_ALL = 0x0003
_IGMP = {0x16: "joined", 0x17: "left"}  # RFC 2236
_MLD = {131: "joined", 132: "left"}  # RFC 2710

_MCAST_JOIN_SOURCE_GROUP = 46
# A group and a source, to be joined last: see _showing_sources.
_LAST = {
    socket.AF_INET: (socket.IPPROTO_IP, "232.255.255.254", "10.255.255.254"),
    socket.AF_INET6: (socket.IPPROTO_IPV6, "ff3e::ffff:fffe", "fd00::ffff:fffe"),
}
_HELPERS = [group for _, group, _ in _LAST.values()]

Report = tuple[str, str]  # "joined" or "left", and the group


class Member(NamedTuple):
    """A group that is joined on a device: from these sources, or from any where there are none."""

    device: str
    group: str
    sources: frozenset[str] = frozenset()


def members(namespace: Namespace) -> set[Member]:
    """The groups of both families, of all devices, that somebody has asked for."""
    found = groups(namespace)
    sources: dict[tuple[str, str], set[str]] = {}
    with _showing_sources(namespace, {device for device, _ in found}):
        lines = _lines(namespace, "mcfilter") + _lines(namespace, "mcfilter6")
    for line in lines:
        _, device, group, source, included, _ = line.split()
        if int(included):
            sources.setdefault((device, _address(group)), set()).add(_address(source))
    return {Member(*key, frozenset(sources.get(key, ()))) for key in found}


def groups(namespace: Namespace) -> set[tuple[str, str]]:
    """Devices and groups alone, which takes no join of ours to find out."""
    return _groups(namespace, "igmp") | _groups(namespace, "igmp6")


@contextmanager
def _showing_sources(namespace: Namespace, devices: Iterable[str]) -> Iterator[None]:
    """Join a group from one source, on these devices and last.

    The kernel's lists of sources leave a device out whose newest group has none
    (igmp_mcf_get_first, igmp6_mcf_get_first).
    """
    with namespace, ExitStack() as stack:
        for family, (level, *addresses) in _LAST.items():
            sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            for device in devices:
                request = struct.pack("@I0P", socket.if_nametoindex(device))
                for address in addresses:
                    request += _sockaddr(address)
                with suppress(OSError):  # it has gone meanwhile
                    sock.setsockopt(level, _MCAST_JOIN_SOURCE_GROUP, request)
        yield


def _sockaddr(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # After the family: the port, and in IPv6 the flow label.
    layout = "@H6x16s" if family == socket.AF_INET6 else "@H2x4s"
    packed = struct.pack(layout, family, socket.inet_pton(family, address))
    return packed.ljust(128, b"\0")


def _groups(namespace: Namespace, file: str) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    device = ""
    for line in _lines(namespace, file):
        words = line.split()
        if file == "igmp6":
            device, group = words[1], _address(words[2])
        elif not line.startswith("\t"):
            device = words[1]
            continue
        else:
            # As a number in the byte order of the machine, which is that of the network reversed.
            group = socket.inet_ntoa(bytes.fromhex(words[0])[::-1])
        if group not in (*_OWN, *_HELPERS) and not group.startswith("ff02::1:ff"):
            found.add((device, group))
    return found


def _address(text: str) -> str:
    packed = bytes.fromhex(text.removeprefix("0x"))
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed)


def _lines(namespace: Namespace, file: str) -> list[str]:
    with namespace:
        path = Path("/proc/thread-self/net", file)
        lines = path.read_text().splitlines()
    return lines if file == "igmp6" else lines[1:]


class Reports:
    """What IGMPv2 and MLDv1 say at the far end of a link; it listens when it is made."""

    def __init__(self, namespace: Namespace, device: str) -> None:
        with namespace:
            self._sock = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)
            )
            self._sock.bind((device, _ETH_P_ALL))
        self._sock.settimeout(_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def until(self, *reports: Report) -> list[Report]:
        """Return what has come since the last look when all of these have."""
        come: list[Report] = []
        while {*reports} - {*come}:
            come += self._parse(self._sock.recv(256))
        return come

    def _parse(self, packet: bytes) -> Iterator[Report]:
        if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_IGMP:
            message = packet[4 * (packet[0] & 15) :]
            kind, group = _IGMP.get(message[0]), message[4:8]
        elif packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_HOPOPTS:
            message = packet[48:]
            kind, group = _MLD.get(message[0]), message[8:24]
        else:
            return
        if kind:
            family = socket.AF_INET if len(group) == 4 else socket.AF_INET6
            text = socket.inet_ntop(family, group)
            if text not in _HELPERS:
                yield kind, text
