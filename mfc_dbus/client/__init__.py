"""A typed client of the service: the names that other programs use."""

from mfc_dbus.client.client import (
    ANY_SOURCE,
    Client,
    ClientError,
    Event,
    InterfaceInfo,
    LearnedInfo,
    MembershipInfo,
    RouteEvent,
    RouteInfo,
    ServiceEvent,
    TableInfo,
    UnroutedEvent,
)

__all__ = [
    "ANY_SOURCE",
    "Client",
    "ClientError",
    "Event",
    "InterfaceInfo",
    "LearnedInfo",
    "MembershipInfo",
    "RouteEvent",
    "RouteInfo",
    "ServiceEvent",
    "TableInfo",
    "UnroutedEvent",
]
