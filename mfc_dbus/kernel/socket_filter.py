"""Socket filters: the kernel leaves messages out before they wait to be read.

Only OSError is raised here. Source: socket(7), linux/filter.h, linux/bpf_common.h, and Linux's
Documentation/networking/filter.rst.
"""

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from mfc_dbus.kernel.abi import ffi

_SO_ATTACH_FILTER = 26
_LOADS = {1: 0x30, 2: 0x28, 4: 0x20}  # BPF_LD | BPF_ABS of a byte, a half and a whole word
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALL = 0xFFFFFFFF  # bytes of a message that are kept
_INSTRUCTION = struct.Struct("@HBBI")  # struct sock_filter: code, jump if true, if false, value
_PROGRAM = struct.Struct("@HN")  # struct sock_fprog: the number of instructions, a pointer to them


class Condition(NamedTuple):
    """That the bytes at an offset of a message, in network byte order, are a number; or are not.

    size: of 1, 2 or 4 bytes. bits: those that count. A message that ends before them is left out,
    whatever the condition.
    """

    offset: int
    size: int
    number: int
    equal: bool = True
    bits: int = 0xFFFFFFFF


def leave_out(sock: socket.socket, *kinds: Sequence[Condition]) -> None:
    """Have a socket receive from now on all messages but those of these kinds.

    A message is of a kind if all its conditions hold.
    """
    program = b""
    for conditions in kinds:
        for place, (offset, size, number, equal, bits) in enumerate(conditions):
            rest = 3 * (len(conditions) - place - 1) + 1  # instructions up to the next kind
            jumps = (0, rest) if equal else (rest, 0)
            program += _INSTRUCTION.pack(_LOADS[size], 0, 0, offset)
            program += _INSTRUCTION.pack(_AND, 0, 0, bits)
            program += _INSTRUCTION.pack(_JUMP_IF_EQUAL, *jumps, number)
        program += _INSTRUCTION.pack(_RETURN, 0, 0, 0)
    program += _INSTRUCTION.pack(_RETURN, 0, 0, _ALL)
    address = int(ffi().cast("uintptr_t", ffi().from_buffer(program)))
    count = len(program) // _INSTRUCTION.size
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(count, address))
