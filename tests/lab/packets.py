"""Exact packet counting: numbered packets, what arrived of them, and a fence instead of a sleep.

A packet on a veth device waits in a queue of the CPU that sent it, and so does each copy that a
router makes of it, on the same CPU. So a frame that is sent later on that CPU arrives later, and
when it has arrived nothing sent before it is still to come. See `Fence`.
"""

import contextlib
import functools
import itertools
import mmap
import os
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from lab.netns import Namespace

_TIMEOUT = 10.0
_PORT = 5000

_IP_TRANSPARENT = 19
_IPV6_TRANSPARENT = 75
_SOL_PACKET = 263
_PACKET_RX_RING = 5
_PACKET_STATISTICS = 6
_PACKET_VERSION = 10
_PACKET_IGNORE_OUTGOING = 23
_TPACKET_V2 = 1
_TP_STATUS_KERNEL = 0
_TP_STATUS_USER = 1
_ETH_P_ALL = 0x0003
_ETH_P_FENCE = 0x88B5  # for local experiments: no protocol handler takes it
_BROADCAST = b"\xff" * 6

PAYLOAD = struct.Struct("!8sI")  # the run, the packet's number
_UDP_HEADER = "8x"
# TTL, source, group, run, number; the headers have no options.
_PACKETS = {
    socket.AF_INET: struct.Struct("!8xB3x4s4s" + _UDP_HEADER + "8sI"),
    socket.AF_INET6: struct.Struct("!7xB16s16s" + _UDP_HEADER + "8sI"),
}
_ETHERTYPES = {socket.AF_INET: 0x0800, socket.AF_INET6: 0x86DD}


class Run:
    """What sets the packets of one test apart from all others; numbers them."""

    def __init__(self, family: socket.AddressFamily, magic: bytes = b"") -> None:
        self.family = family
        self.magic = magic or secrets.token_bytes(8)
        self.numbers: Iterator[int] = itertools.count(1)


class Packet(NamedTuple):
    """A packet that arrived."""

    number: int
    source: str
    group: str
    ttl: int


class Sender:
    """Sends numbered packets to a group, out of one device, from any source address."""

    def __init__(
        self,
        run: Run,
        namespace: Namespace,
        device: str,
        source: str,
        group: str,
        ttl: int = 64,
        padding: int = 0,
    ) -> None:
        """padding: bytes after what each packet says; whoever it passes must not cut it."""
        self._run = run
        self._padding = bytes(padding)
        self._to = (group, _PORT)
        with namespace, contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.socket(run.family, socket.SOCK_DGRAM))
            ifindex = socket.if_nametoindex(device)
            if run.family == socket.AF_INET:
                interface = struct.pack("@4s4si", b"", b"", ifindex)
                sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
                sock.bind((source, 0))
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, ifindex)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
                sock.bind((source, 0, 0, ifindex))
            self._sock = sock
            stack.pop_all()

    @property
    def packet_size(self) -> int:
        """Bytes of one packet with its IP header, as the kernel's counters see it."""
        return _PACKETS[self._run.family].size + len(self._padding)

    def close(self) -> None:
        self._sock.close()

    def send(self, count: int) -> list[int]:
        """Send packets as fast as they go, and return their numbers.

        A CPU's queue holds 1,000 (net.core.netdev_max_backlog): keep count times oifs below that.
        """
        return [self._send_one() for _ in range(count)]

    def send_to(self, group: str) -> None:
        """Send a packet without a number to another group."""
        self._sock.sendto(b"", (group, _PORT))

    @contextlib.contextmanager
    def flow(self, rate: int = 1000, *, steadfast: bool = False) -> Iterator["Flow"]:
        """Send at this rate, packets a second, in the background until the block ends.

        steadfast: go on where there is no device to send by.
        """
        flow = Flow(self._send_one, 1 / rate, [OSError] if steadfast else ())
        try:
            yield flow
        finally:
            flow.stop()

    def _send_one(self) -> int:
        number = next(self._run.numbers)
        self._sock.sendto(PAYLOAD.pack(self._run.magic, number) + self._padding, self._to)
        return number


class Flow:
    """A stream that a thread sends at a steady rate; see Sender.flow."""

    def __init__(
        self,
        send_one: Callable[[], int],
        interval: float,
        borne: Collection[type[OSError]] = (),
    ) -> None:
        """borne: the errors of sending that do not end it."""
        self.sent: list[int] = []
        self._send_one = send_one
        self._borne = borne
        self._interval = interval
        self._progress = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def wait_for(self, count: int) -> None:
        """Return when this many more packets have been sent."""
        with self._progress:
            goal = len(self.sent) + count
            if not self._progress.wait_for(lambda: len(self.sent) >= goal, _TIMEOUT):
                raise TimeoutError(f"the flow sent {len(self.sent)} packets and no more")

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            with self._progress, contextlib.suppress(*self._borne):
                self.sent.append(self._send_one())
                self._progress.notify_all()
            due += self._interval


class Mark(NamedTuple):
    """A frame of a fence, and how many copies of it arrive on each device."""

    nonce: bytes
    copies: int


class Fence:
    """Follows all packets through a router, so that one knows when the last of them has arrived.

    First frames go in where the packets went in, from every CPU. They have an ethertype of their
    own, so no route touches them, and a socket in the router gets them when all before them have
    been forwarded or dropped. Then frames go out of every device of the router, behind the copies
    that it made. Queues per CPU keep the order; nobody needs to know which CPU sent what.
    """

    def __init__(self, outside: Namespace, router: Namespace) -> None:
        self._cpus = sorted(os.sched_getaffinity(0))
        with outside:
            self._outside = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        with router:
            self._router = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_FENCE)
            )
        self._router.settimeout(_TIMEOUT)

    def close(self) -> None:
        self._outside.close()
        self._router.close()

    def follow(self, inward: Collection[str], outward: Collection[str]) -> Mark:
        """Send frames in by some devices and out by some; see Collector.until."""
        mark = Mark(secrets.token_bytes(8), len(self._cpus))
        expected = self._send(self._outside, inward, mark)
        while expected:
            expected -= self._router.recv(64).startswith(mark.nonce)
        self._send(self._router, outward, mark)
        return mark

    def _send(self, sock: socket.socket, devices: Collection[str], mark: Mark) -> int:
        before = os.sched_getaffinity(0)
        try:
            for cpu in self._cpus:
                os.sched_setaffinity(0, {cpu})
                for device in devices:
                    sock.sendto(mark.nonce, (device, _ETH_P_FENCE, 0, 0, _BROADCAST))
        finally:
            os.sched_setaffinity(0, before)
        return len(self._cpus) * len(devices)


class Collector:
    """Keeps every packet of a run that arrives in a namespace, on any of its devices."""

    def __init__(self, run: Run, namespace: Namespace) -> None:
        self._run = run
        self._namespace = namespace
        self._ring = _Ring(namespace)

    def close(self) -> None:
        self._ring.close()

    def until(self, mark: Mark, devices: Collection[str]) -> dict[str, list[Packet]]:
        """Return what has arrived on these devices before this mark, and since the last."""
        with self._namespace:
            packets: dict[int, list[Packet]] = {
                socket.if_nametoindex(device): [] for device in devices
            }
        expected = mark.copies * len(devices)
        while expected:
            frame = self._ring.take(_TIMEOUT)
            if frame is None:
                raise TimeoutError("the fence does not arrive")
            if frame.ethertype == _ETH_P_FENCE:
                expected -= frame.content.startswith(mark.nonce)
            elif frame.ifindex in packets:
                packets[frame.ifindex] += self._parse(frame)
        self._ring.check()
        return dict(zip(devices, map(sorted, packets.values()), strict=True))

    def so_far(self) -> list[Packet]:
        """Return what has arrived since the last look, and wait for nothing."""
        packets: list[Packet] = []
        while frame := self._ring.take(0):
            packets += self._parse(frame)
        self._ring.check()
        return packets

    def _parse(self, frame: "_Frame") -> Iterator[Packet]:
        layout = _PACKETS[self._run.family]
        if frame.ethertype == _ETHERTYPES[self._run.family] and len(frame.content) >= layout.size:
            ttl, source, group, magic, number = layout.unpack_from(frame.content)
            if magic == self._run.magic:
                text = functools.partial(socket.inet_ntop, self._run.family)
                yield Packet(number, text(source), text(group), ttl)


class _Frame(NamedTuple):
    ifindex: int
    ethertype: int
    content: bytes


class _Ring:
    """What arrives in a namespace, in memory that is shared with the kernel (packet_mmap).

    In a user namespace nobody may have a socket buffer of more than some 500 packets. One ring
    for all devices, because closing a packet socket takes the kernel 20 ms.
    """

    _SLOT = 256  # for one frame; what is longer is cut off
    _SLOTS = 1 << 15
    _BLOCK = 1 << 16
    # struct tpacket2_hdr, then struct sockaddr_ll: status, length, offset, ethertype, ifindex
    _HEADER = struct.Struct("@I4xI2xH16x2xHi")

    def __init__(self, namespace: Namespace) -> None:
        size = self._SLOT * self._SLOTS
        with namespace:
            self._sock = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)
            )
        request = struct.pack("@IIII", self._BLOCK, size // self._BLOCK, self._SLOT, self._SLOTS)
        self._sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._sock.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        self._sock.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        self._memory = mmap.mmap(self._sock.fileno(), size)
        self._next = 0

    def close(self) -> None:
        self._memory.close()
        self._sock.close()

    def take(self, timeout: float) -> _Frame | None:
        """Return the next frame; None where there is none in this time, in seconds."""
        at = self._next * self._SLOT
        deadline = time.monotonic() + timeout
        # With two CPUs at work the slot after this one may be filled first, and wake us.
        while not self._memory[at] & _TP_STATUS_USER:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            select.select([self._sock], [], [], remaining)
        _, length, offset, ethertype, ifindex = self._HEADER.unpack_from(self._memory, at)
        content = self._memory[at + offset : at + offset + length]
        struct.pack_into("@I", self._memory, at, _TP_STATUS_KERNEL)
        self._next = (self._next + 1) % self._SLOTS
        return _Frame(ifindex, socket.ntohs(ethertype), content)

    def check(self) -> None:
        """Raise BufferError if anything was lost here."""
        _, drops = struct.unpack("@II", self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        if drops:
            raise BufferError(f"the collector itself lost {drops} packets")
