"""A point-to-point device whose far end is this process: tun."""

import fcntl
import os
import socket
import struct
from typing import Self

from lab.netns import Namespace
from lab.packets import PAYLOAD, Run

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x1, 0x1000
_MESSAGE = 65536
_UDP_PORT = 5000
_TTL = 64
_UDP = struct.Struct("!HHHH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")


class Tun:
    """A context manager; its device goes with it."""

    def __init__(self, namespace: Namespace, name: str, run: Run) -> None:
        self._run = run
        with namespace:
            self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(
                self._fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
            )
        namespace.ip(f"link set dev {name} up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def send(self, source: str, group: str, count: int) -> list[int]:
        """Let numbered packets arrive from the far end, and return their numbers."""
        sent = [next(self._run.numbers) for _ in range(count)]
        for number in sent:
            os.write(self._fd, _packet(source, group, PAYLOAD.pack(self._run.magic, number)))
        return sent

    def arrived(self, group: str) -> int:
        """How many packets to a group have left by the device since the last look."""
        wanted = _packed(group)
        count = 0
        while True:
            try:
                packet = os.read(self._fd, _MESSAGE)
            except BlockingIOError:
                return count
            at = 16 if len(wanted) == 4 else 24
            count += packet[at : at + len(wanted)] == wanted


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _packet(source: str, group: str, payload: bytes) -> bytes:
    """A UDP packet, in IPv6 too without a checksum: routers want none."""
    udp = _UDP.pack(_UDP_PORT, _UDP_PORT, _UDP.size + len(payload), 0) + payload
    if ":" in group:
        addresses = (_packed(source), _packed(group))
        return _IPV6.pack(6 << 28, len(udp), socket.IPPROTO_UDP, _TTL, *addresses) + udp
    length = _IPV4.size + len(udp)
    fields: list[int | bytes] = [
        0x45,
        0,
        length,
        0,
        0,
        _TTL,
        socket.IPPROTO_UDP,
        0,
        _packed(source),
        _packed(group),
    ]
    fields[7] = _checksum(_IPV4.pack(*fields))
    return _IPV4.pack(*fields) + udp


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
