"""Checks that the interfaces which routes and memberships name exist (pure)."""

from collections.abc import Mapping

from mfc_dbus.kernel.links import Link
from mfc_dbus.model.errors import NoSuchInterface
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.quoting import quote

Present = Mapping[str, Link]  # the interfaces that there are, by name


def check_interface(name: str, present: Present, *, wait: bool) -> None:
    """Raise NoSuchInterface where an interface is missing; a pattern may match none.

    wait: the interface need not exist yet. An alternative name is refused all the same, since no
    interface will ever have it as its name.
    """
    if name in present or is_pattern(name):
        return
    real = _named_otherwise(name, present)
    if real:
        raise NoSuchInterface(_say_otherwise(name, real))
    if not wait:
        raise NoSuchInterface(f"Interface {quote(name)} not found")


def _named_otherwise(name: str, present: Present) -> str:
    """Find the interface of an alternative name (`ip link property`); empty where there is none."""
    return next((link.name for link in present.values() if name in link.altnames), "")


def _say_otherwise(name: str, real: str) -> str:
    return f"{quote(name)} is an alternative name of interface {quote(real)}: say {quote(real)}"
