"""What routers say to switches (Multicast Router Discovery, RFC 4286), heard at the far end."""

import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, Self

from lab.netns import Namespace

_TIMEOUT = 20.0
_ETH_P_ALL = 0x0003
_ETHERTYPES = (0x0800, 0x86DD)
_KINDS = {
    socket.AF_INET: {0x30: "advertisement", 0x31: "solicitation", 0x32: "termination"},
    socket.AF_INET6: {151: "advertisement", 152: "solicitation", 153: "termination"},
}


class Message(NamedTuple):
    """A packet; `options` are those of its IP header, `body` is what comes after them."""

    family: socket.AddressFamily
    source: str
    group: str
    ttl: int
    options: bytes
    body: bytes

    @property
    def kind(self) -> str:
        return _KINDS[self.family][self.body[0]]

    @property
    def interval(self) -> int:
        """In seconds."""
        return self.body[1]

    @property
    def sound(self) -> bool:
        """Whether the checksum is right."""
        covered = self.body
        if self.family == socket.AF_INET6:
            addresses = (socket.inet_pton(self.family, text) for text in (self.source, self.group))
            covered = b"".join(addresses) + struct.pack("!II", len(self.body), 58) + self.body
        total: int = sum(struct.unpack(f"!{len(covered) // 2}H", covered))
        return total % 0xFFFF == 0


class Listener:
    """It hears what arrives on a device from when it is made."""

    def __init__(self, namespace: Namespace, device: str) -> None:
        with namespace:
            self._sock = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)
            )
            self._sock.bind((device, _ETH_P_ALL))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def until(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """Return what has come since the last look when such a message has."""
        come: list[Message] = []
        self._sock.settimeout(_TIMEOUT)
        while not come or not wanted(come[-1]):
            come += self._receive()
        return come

    def so_far(self) -> list[Message]:
        """Return what has come since the last look, and wait for nothing."""
        come: list[Message] = []
        self._sock.settimeout(0)
        while True:
            try:
                come += self._receive()
            except BlockingIOError:
                return come

    def _receive(self) -> list[Message]:
        packet, (_, ethertype, *_) = self._sock.recvfrom(256)
        return _parse(packet) if ethertype in _ETHERTYPES else []


def _parse(packet: bytes) -> list[Message]:
    if packet[0] >> 4 == 4:
        family, ttl, protocol = socket.AF_INET, packet[8], packet[9]
        addresses = packet[12:16], packet[16:20]
        begin, end = 20, 4 * (packet[0] & 15)
    else:
        family, ttl, protocol = socket.AF_INET6, packet[7], packet[6]
        addresses = packet[8:24], packet[24:40]
        begin, end = 40, 40
        if protocol == socket.IPPROTO_HOPOPTS:
            protocol, end = packet[40], 48 + 8 * packet[41]
    right = protocol in (socket.IPPROTO_IGMP, socket.IPPROTO_ICMPV6)
    if not right or packet[end] not in _KINDS[family]:
        return []
    source, group = (socket.inet_ntop(family, address) for address in addresses)
    return [Message(family, source, group, ttl, packet[begin:end], packet[end:])]
