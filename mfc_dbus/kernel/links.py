"""The network interfaces of this network namespace. OSError is all that comes out."""

import errno
import fcntl
import socket
import struct
from typing import NamedTuple, Self

_SIOCGIFNAME = 0x8910
_SIOCGIFFLAGS = 0x8913
_SIOCGIFINDEX = 0x8933
_IFF_MULTICAST = 0x1000
_IFREQ = struct.Struct("@16si20x")


class Link(NamedTuple):
    """A network interface; `multicast`: whether it carries any (IFF_MULTICAST)."""

    name: str
    ifindex: int
    multicast: bool


class Links:
    """Looks interfaces up; source: netdevice(7)."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def lookup(self, name: str) -> Link:
        """Find an interface by its name, not by an alternative one. ENODEV: there is none."""
        encoded = name.encode(errors="replace")
        if len(encoded) > 15:
            raise OSError(errno.ENODEV, "no such interface")
        ifindex = self._ioctl(_SIOCGIFINDEX, encoded)[1]
        # SIOCGIFINDEX takes alternative names too; two names for a device would make two VIFs.
        if self._ioctl(_SIOCGIFNAME, b"", ifindex)[0] != encoded:
            raise OSError(errno.ENODEV, "no such interface")
        flags = self._ioctl(_SIOCGIFFLAGS, encoded)[1] & 0xFFFF
        return Link(name, ifindex, bool(flags & _IFF_MULTICAST))

    def _ioctl(self, request: int, name: bytes, value: int = 0) -> tuple[bytes, int]:
        reply = fcntl.ioctl(self._sock, request, _IFREQ.pack(name, value))
        name, value = _IFREQ.unpack(reply)
        return name.rstrip(b"\0"), value
