"""Exact packet counting: numbered packets, what arrived of them, and a fence instead of a sleep.

A packet on a veth device waits in a queue of the CPU that sent it, and so does each copy that a
router makes of it, on the same CPU. So a frame that is sent later on that CPU arrives later, and
when it has arrived nothing sent before it is still to come. See `Fence`.
"""

import contextlib
import functools
import itertools
import os
import secrets
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
_SO_RCVBUFFORCE = 33
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_IGNORE_OUTGOING = 23
_ETH_P_ALL = 0x0003
_ETH_P_FENCE = 0x88B5  # for local experiments: no protocol handler takes it
_BROADCAST = b"\xff" * 6
_FRAME = 128  # as much of a frame as matters
_COLLECTOR_BUFFER = 32 << 20  # some 40,000 packets

_PAYLOAD = struct.Struct("!8sI")  # the run, the packet's number
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
        self.numbers = itertools.count(1)


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
    ) -> None:
        self._run = run
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
        return _PACKETS[self._run.family].size

    def close(self) -> None:
        self._sock.close()

    def send(self, count: int) -> list[int]:
        """Send packets as fast as they go, and return their numbers.

        A CPU's queue holds 1,000 (net.core.netdev_max_backlog): keep count times oifs below that.
        """
        return [self._send_one() for _ in range(count)]

    @contextlib.contextmanager
    def flow(self, rate: int = 1000) -> Iterator["Flow"]:
        """Send at this rate, packets a second, in the background until the block ends."""
        flow = Flow(self._send_one, 1 / rate)
        try:
            yield flow
        finally:
            flow.stop()

    def _send_one(self) -> int:
        number = next(self._run.numbers)
        self._sock.sendto(_PAYLOAD.pack(self._run.magic, number), self._to)
        return number


class Flow:
    """A stream that a thread sends at a steady rate; see Sender.flow."""

    def __init__(self, send_one: Callable[[], int], interval: float) -> None:
        self.sent: list[int] = []
        self._send_one = send_one
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
            with self._progress:
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
    """Keeps every packet of a run that arrives in a namespace.

    One socket for all devices, because closing such a socket takes the kernel 20 ms.
    """

    def __init__(self, run: Run, namespace: Namespace) -> None:
        self._run = run
        with namespace:
            self._sock = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)
            )
        self._sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _COLLECTOR_BUFFER)
        self._sock.settimeout(_TIMEOUT)

    def close(self) -> None:
        self._sock.close()

    def until(self, mark: Mark, devices: Collection[str]) -> dict[str, list[Packet]]:
        """Return what has arrived on these devices before this mark, and since the last."""
        packets: dict[str, list[Packet]] = {device: [] for device in devices}
        expected = mark.copies * len(devices)
        while expected:
            frame, (device, ethertype, *_) = self._sock.recvfrom(_FRAME)
            if ethertype == _ETH_P_FENCE:
                expected -= frame.startswith(mark.nonce)
            elif device in packets:
                packets[device] += self._parse(frame, ethertype)
        self._check_drops()
        return {device: sorted(packets[device]) for device in devices}

    def so_far(self) -> list[Packet]:
        """Return what has arrived on all devices since the last look, and wait for nothing."""
        packets: list[Packet] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, (_, ethertype, *_) = self._sock.recvfrom(_FRAME, socket.MSG_DONTWAIT)
                packets += self._parse(frame, ethertype)
        self._check_drops()
        return packets

    def _check_drops(self) -> None:
        _, drops = struct.unpack("@II", self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        if drops:
            raise BufferError(f"the collector itself lost {drops} packets")

    def _parse(self, frame: bytes, ethertype: int) -> Iterator[Packet]:
        layout = _PACKETS[self._run.family]
        if ethertype == _ETHERTYPES[self._run.family] and len(frame) >= layout.size:
            ttl, source, group, magic, number = layout.unpack_from(frame)
            if magic == self._run.magic:
                text = functools.partial(socket.inet_ntop, self._run.family)
                yield Packet(number, text(source), text(group), ttl)
