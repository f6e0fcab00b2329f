"""Words for routes and memberships, and a check whether the bus can carry a text."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mfc_dbus.model.options import (
    MEMBERSHIP,
    ROUTE,
    TTLS,
    Option,
    said_of_membership,
    said_of_route,
)

if TYPE_CHECKING:
    from mfc_dbus.client import MembershipInfo, RouteInfo
    from mfc_dbus.documents.entries import MembershipEntry, RouteEntry


def on_bus(text: str) -> bool:
    """Return whether D-Bus can carry this string: it has neither NUL nor a lone surrogate."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def oifs(route: "RouteInfo") -> list[str]:
    """Name the outgoing interfaces: "eth2", "eth3(ttl>16)"; "(stop)" where there is none."""
    named = [
        f"{name}(ttl>{route.ttls[name]})" if name in route.ttls else name for name in route.oifs
    ]
    return named or ["(stop)"]


def options_of_route(route: "RouteInfo | RouteEntry") -> str:
    """Name the options of a route that are not the defaults, and have no place among the oifs."""
    said = said_of_route(route)
    return _options([option for option in ROUTE if option is not TTLS], said)


def options_of_membership(membership: "MembershipInfo | MembershipEntry") -> str:
    return _options(MEMBERSHIP, said_of_membership(membership))


def _options(options: Iterable[Option], said: Mapping[str, Any]) -> str:
    """Write " table 100", or " transient" for an option that is true or false; texts come last."""
    words = ""
    if not said:  # as of nearly all
        return words
    for option in sorted(options, key=lambda option: option.signature == "s"):
        if option.name in said:
            switch = option.signature == "b"
            words += f" {option.flag.word[2:] if switch else f'{option.name} {said[option.name]}'}"
    return words
