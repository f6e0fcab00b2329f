"""A firewall that drops everything at one hook: a base chain of nf_tables with that policy.

Written by netlink, so that no machine needs nft for it. Source: linux/netfilter/nf_tables.h.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from lab.netns import Namespace

_NETLINK_NETFILTER = 12
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFT = 10 << 8
_NEWTABLE, _DELTABLE, _NEWCHAIN = _NFT, _NFT | 2, _NFT | 3
_REQUEST, _ACK, _CREATE = 0x1, 0x4, 0x400
_NESTED = 0x8000
_FAMILIES = {socket.AF_INET: 2, socket.AF_INET6: 10}
_NETDEV = 5
_HOOKS = {"prerouting": 0, "forward": 2, "postrouting": 4}
_HOOKS_OF_DEVICES = {"ingress": 0, "egress": 1}
_TABLE = "lab"


@contextmanager
def dropping(
    namespace: Namespace, family: socket.AddressFamily, hook: str, device: str = ""
) -> Iterator[None]:
    """Drop what comes to a hook while the context lasts. device: of ingress and egress."""
    protocol, number = _FAMILIES[family], _HOOKS.get(hook)
    if number is None:
        protocol, number = _NETDEV, _HOOKS_OF_DEVICES[hook]
    where = _attribute(1, struct.pack(">I", number)) + _attribute(2, struct.pack(">i", 0))
    if device:
        where += _attribute(3, device.encode() + b"\0")
    table = _attribute(1, _TABLE.encode() + b"\0")
    chain = (
        table
        + _attribute(3, b"drop\0")
        + _attribute(4 | _NESTED, where)
        + _attribute(5, struct.pack(">I", 0))
        + _attribute(7, b"filter\0")
    )
    _change(namespace, protocol, (_NEWTABLE, table), (_NEWCHAIN, chain))
    try:
        yield
    finally:
        _change(namespace, protocol, (_DELTABLE, table))


def _change(namespace: Namespace, protocol: int, *changes: tuple[int, bytes]) -> None:
    """Make changes in one batch. Raises OSError."""
    with namespace, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
        sock.bind((0, 0))
        batch = _message(_BATCH_BEGIN, _REQUEST, 0, 10, b"")
        for type_, body in changes:
            batch += _message(type_, _REQUEST | _ACK | _CREATE, protocol, 0, body)
        sock.send(batch + _message(_BATCH_END, _REQUEST, 0, 10, b""))
        for _ in changes:
            (number,) = struct.unpack_from("=i", sock.recv(4096), 16)
            if number:
                raise OSError(-number, os.strerror(-number))


def _message(type_: int, flags: int, protocol: int, resource: int, body: bytes) -> bytes:
    content = struct.pack(">BBH", protocol, 0, resource) + body
    return struct.pack("=IHHII", 16 + len(content), type_, flags, 1, 0) + content


def _attribute(type_: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, type_) + value + bytes(-length % 4)
