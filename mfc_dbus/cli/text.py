"""Text on its way out, to a terminal that obeys it, or to a bus that does not carry all of it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mfc_dbus.client import RouteInfo


def on_bus(text: str) -> bool:
    """Tell whether D-Bus can carry this string: neither NUL nor a lone surrogate is in it."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def oifs(route: "RouteInfo") -> list[str]:
    """Name the outgoing interfaces: "eth2", "eth3(ttl>16)"; "(stop)" where there is none."""
    named = [
        f"{name}(ttl>{route.ttls[name]})" if name in route.ttls else name for name in route.oifs
    ]
    return named or ["(stop)"]
