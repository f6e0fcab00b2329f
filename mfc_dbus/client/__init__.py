"""A typed client of the service: the names that other programs use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mfc_dbus.bus.blocking import finish
    from mfc_dbus.client.client import Client
    from mfc_dbus.client.errors import ClientError
    from mfc_dbus.client.info import (
        CauseInfo,
        Event,
        FindingInfo,
        InterfaceInfo,
        MembershipEvent,
        MembershipInfo,
        PastChangeInfo,
        PermissionInfo,
        RouteEvent,
        RouteInfo,
        ServiceEvent,
        Snapshot,
        StatisticsInfo,
        StreamInfo,
        TableInfo,
        UnroutedEvent,
    )
    from mfc_dbus.client.unit import UnitInfo
    from mfc_dbus.names import ANY_SOURCE

__all__ = [
    "ANY_SOURCE",
    "CauseInfo",
    "Client",
    "ClientError",
    "Event",
    "FindingInfo",
    "InterfaceInfo",
    "MembershipEvent",
    "MembershipInfo",
    "PastChangeInfo",
    "PermissionInfo",
    "RouteEvent",
    "RouteInfo",
    "ServiceEvent",
    "Snapshot",
    "StatisticsInfo",
    "StreamInfo",
    "TableInfo",
    "UnitInfo",
    "UnroutedEvent",
    "finish",
]

_HOMES = {
    "ANY_SOURCE": "mfc_dbus.names",
    "Client": "mfc_dbus.client.client",
    "ClientError": "mfc_dbus.client.errors",
    "UnitInfo": "mfc_dbus.client.unit",
    "finish": "mfc_dbus.bus.blocking",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: a command that only changes a route needs few of them."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES.get(name, "mfc_dbus.client.info")), name)
