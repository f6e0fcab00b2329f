"""What the kernel itself says about the multicast memberships of a namespace."""

import socket
from pathlib import Path
from typing import NamedTuple

from lab.netns import Namespace

# What every device has joined of its own accord.
_OWN = ("224.0.0.1", "224.0.0.106", "ff01::1", "ff02::1", "ff02::6a", "ff02::2", "ff05::2")


class Member(NamedTuple):
    """A group that is joined on a device: from these sources, or from any where there are none."""

    device: str
    group: str
    sources: frozenset[str] = frozenset()


def members(namespace: Namespace) -> set[Member]:
    """The groups of both families, of all devices, that somebody has asked for."""
    groups = _groups(namespace, "igmp") | _groups(namespace, "igmp6")
    sources: dict[tuple[str, str], set[str]] = {}
    for file in ("mcfilter", "mcfilter6"):
        for line in _lines(namespace, file):
            _, device, group, source, included, _ = line.split()
            if int(included):
                sources.setdefault((device, _address(group)), set()).add(_address(source))
    return {Member(*key, frozenset(sources.get(key, ()))) for key in groups}


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
        if group not in _OWN and not group.startswith("ff02::1:ff"):
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
