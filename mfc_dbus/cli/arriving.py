"""Counts the packets of a stream as they arrive, before any firewall: for root alone.

Source: packet(7), linux/filter.h.
"""

import ctypes
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_PACKET_OTHERHOST = 3
_SO_ATTACH_FILTER = 26
_ETH_P_ALL = 3
_ETHERTYPES = {4: 0x0800, 16: 0x86DD}  # by the bytes of an address
_SOURCES = {4: 12, 16: 8}  # where an IP header has it
_GROUPS = {4: 16, 16: 24}
# BPF_LD | BPF_W | BPF_ABS; BPF_JMP | BPF_JEQ; BPF_RET
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_PROTOCOL = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL: loads the ethertype
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_MOST = 100_000  # packets, which are enough to tell


class Arrived(NamedTuple):
    """How many packets arrived, by the name of the interface; strange: in frames that are addressed
    to another machine.
    """

    here: Counter[str]
    strange: Counter[str]


def count(source: bytes, group: bytes, seconds: float) -> Arrived:
    """Return how many packets of a stream arrive in this time.

    source: a packed address; empty for any. Raises OSError.
    """
    found = Arrived(Counter(), Counter())
    # Only a socket for all protocols is before the ingress hook.
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)) as sock:
        program = b"".join(_program(source, group))
        buffer = ctypes.create_string_buffer(program, len(program))
        length = len(program) // _INSTRUCTION.size
        argument = struct.pack("@HP", length, ctypes.addressof(buffer))  # struct sock_fprog
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        _discard(sock)  # what came before the filter
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and found.here.total() < _MOST:
            if select.select([sock], [], [], left)[0]:
                _, (name, _, kind, *_) = sock.recvfrom(1)
                (found.strange if kind == _PACKET_OTHERHOST else found.here)[name] += 1
    return found


def _discard(sock: socket.socket) -> None:
    for _ in range(_MOST):
        try:
            sock.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return


def _program(source: bytes, group: bytes) -> Iterator[bytes]:
    """Yield the instructions of a filter that only these packets pass."""
    size = len(group)
    wanted = [(_GROUPS[size], group), *([(_SOURCES[size], source)] if source else [])]
    words = [
        (_PROTOCOL, _ETHERTYPES[size]),
        *(
            (start + at, int.from_bytes(address[at : at + 4]))
            for start, address in wanted
            for at in range(0, size, 4)
        ),
    ]
    for number, (at, word) in enumerate(words):
        yield _INSTRUCTION.pack(_LOAD, 0, 0, at)
        yield _INSTRUCTION.pack(_EQUAL, 0, 2 * (len(words) - number) - 1, word)
    yield _INSTRUCTION.pack(_RETURN, 0, 0, 1)
    yield _INSTRUCTION.pack(_RETURN, 0, 0, 0)
