"""The errors of the domain, each with its name on the bus."""

from typing import ClassVar

from mfc_dbus.names import INTERFACE

_STANDARD = "org.freedesktop.DBus.Error"


class RequestError(Exception):
    """A request that was refused; the text is a sentence for the caller."""

    bus_name: ClassVar[str]


class InvalidArgs(RequestError):
    """An argument or option has the wrong type, form or value."""

    bus_name = f"{_STANDARD}.InvalidArgs"


class AccessDenied(RequestError):
    """The caller may not do this."""

    bus_name = f"{_STANDARD}.AccessDenied"


class InteractiveAuthorizationRequired(RequestError):
    """The caller may do this after a password prompt, which his call did not allow."""

    bus_name = f"{_STANDARD}.InteractiveAuthorizationRequired"


class RouteExists(RequestError):
    """A route with this key is there already, and `replace` was not given."""

    bus_name = f"{INTERFACE}.Error.RouteExists"


class RouteConfigured(RequestError):
    """The route comes from a file of the configuration, and is changed there."""

    bus_name = f"{INTERFACE}.Error.RouteConfigured"


class NoSuchRoute(RequestError):
    """No route has this source, group and iif."""

    bus_name = f"{INTERFACE}.Error.NoSuchRoute"


class NoSuchChange(RequestError):
    """The history has no such change."""

    bus_name = f"{INTERFACE}.Error.NoSuchChange"


class ChangedSince(RequestError):
    """What is to be undone was changed since by somebody else, or cannot be undone any more."""

    bus_name = f"{INTERFACE}.Error.ChangedSince"


class MembershipExists(RequestError):
    """This group is joined already, from this source and on this interface."""

    bus_name = f"{INTERFACE}.Error.MembershipExists"


class MembershipConfigured(RequestError):
    """The membership comes from a file of the configuration, and is changed there."""

    bus_name = f"{INTERFACE}.Error.MembershipConfigured"


class NoSuchMembership(RequestError):
    """No membership has this group, source and interface."""

    bus_name = f"{INTERFACE}.Error.NoSuchMembership"


class NoSuchInterface(RequestError):
    """No network interface has this name."""

    bus_name = f"{INTERFACE}.Error.NoSuchInterface"


class TooManyInterfaces(RequestError):
    """The kernel has 32 VIFs for a routing table, and the request needs one more.

    interface: the name of one that there is no room for, empty where it is not known.
    """

    bus_name = f"{INTERFACE}.Error.TooManyInterfaces"

    def __init__(self, sentence: str, interface: str = "") -> None:
        super().__init__(sentence)
        self.interface = interface


class TableBusy(RequestError):
    """Another program owns the kernel's multicast routing table."""

    bus_name = f"{INTERFACE}.Error.TableBusy"


class LimitExceeded(RequestError):
    """A limit of this service, not of the kernel, was reached."""

    bus_name = f"{INTERFACE}.Error.LimitExceeded"


class KernelError(RequestError):
    """The kernel refused a change."""

    bus_name = f"{INTERFACE}.Error.KernelError"


class StoreError(RequestError):
    """The store could not be opened, read or written; a change that it refused is not made."""

    bus_name = f"{INTERFACE}.Error.StoreError"


class ConfigError(RequestError):
    """The configuration cannot be used; the text names file, line and key."""

    bus_name = f"{INTERFACE}.Error.ConfigError"
