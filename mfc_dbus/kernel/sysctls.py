"""Settings of this network namespace under /proc/sys/net. Only OSError is raised here."""

import errno
import os
from pathlib import Path

_CONF = Path("/proc/sys/net")


def rp_filter(interface: str) -> tuple[int, int]:
    """Return the reverse path filter of IPv4 that is set for all, and for this interface.

    The greater one is in force: 0 none, 1 strict, 2 loose (ip-sysctl.rst).
    """
    return _number("ipv4", "all", "rp_filter"), _number("ipv4", interface, "rp_filter")


def has_ipv6(interface: str) -> bool:
    """Return whether IPv6 is not switched off on an interface."""
    return not _number("ipv6", interface, "disable_ipv6")


def _number(family: str, interface: str, name: str) -> int:
    path = _CONF / family / "conf" / interface / name
    try:
        return int(path.read_bytes())
    except ValueError:
        raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG), str(path)) from None
