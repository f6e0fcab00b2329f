"""The members of the service's D-Bus object: the one table of them (pure).

The service dispatches and authorises by it, and the client calls by it. What is not in it cannot be
called. A new member is an entry here and its behaviour (`service/methods.py`, `queries.py`,
`properties.py`); a test holds the interface file, which documents each, against this table.
"""

from enum import StrEnum
from typing import NamedTuple

from mfc_dbus.model.cause import Act
from mfc_dbus.names import INTERFACE

_BUS = "org.freedesktop.DBus"

ROUTE = "(sssasa{sv})"  # source, group, iif, oifs and options, as AddRoute takes them
ROUTES = f"a{ROUTE}"


class Action(StrEnum):
    """The actions that polkit is asked about; it is not asked about PUBLIC ones."""

    PUBLIC = ""
    MANAGE_ROUTES = f"{INTERFACE}.manage-routes"
    MANAGE_MEMBERSHIPS = f"{INTERFACE}.manage-memberships"
    RELOAD = f"{INTERFACE}.reload"


class Permission(StrEnum):
    """What a caller may do now."""

    YES = "yes"
    AUTH = "auth"  # with a password
    NO = "no"


class Method(NamedTuple):
    """The signatures of a method, and the action that its callers must be authorised for.

    late: the service reads the arguments only when the caller is authorised, and they may be large.
    waits: a call waits while a long change is half done, since it reads the desired routes and
        memberships, which would be half of the old and half of the new.
    by_part: its behaviour has the caller authorised, for one action or several.
    """

    arguments: str
    returns: str
    action: Action
    late: bool = False
    waits: bool = False
    by_part: bool = False


class Property(NamedTuple):
    """A property that can be read.

    emits: what PropertiesChanged tells when it changes, in the words of the D-Bus specification.
    """

    signature: str
    emits: str = "invalidates"


# The log's object has its own right to set a property. No call has this name.
SET_LOG = f"{_BUS}.Properties.Set (LogControl1)"

# Its variant is read as the arguments of the call that it holds: see service/permissions.py.
CHECK = f"{INTERFACE}.Check"

METHODS = {
    f"{INTERFACE}.AddRoute": Method("sssasa{sv}", "", Action.MANAGE_ROUTES, waits=True),
    f"{INTERFACE}.ChangeRoute": Method("ssa{sv}", "", Action.MANAGE_ROUTES, waits=True),
    f"{INTERFACE}.DeleteRoute": Method("ssa{sv}", "", Action.MANAGE_ROUTES, waits=True),
    f"{INTERFACE}.FlushRoutes": Method("a{sv}", "u", Action.MANAGE_ROUTES),
    f"{INTERFACE}.JoinGroup": Method("sssa{sv}", "", Action.MANAGE_MEMBERSHIPS, waits=True),
    f"{INTERFACE}.LeaveGroup": Method("sssa{sv}", "", Action.MANAGE_MEMBERSHIPS, waits=True),
    # A document that changes memberships takes MANAGE_MEMBERSHIPS too.
    f"{INTERFACE}.Apply": Method("sa{sv}", "uuu", Action.MANAGE_ROUTES, late=True),
    f"{INTERFACE}.Describe": Method("a{sv}", "s", Action.PUBLIC),
    f"{INTERFACE}.ListStreams": Method("a{sv}", "aa{sv}u", Action.PUBLIC, waits=True),
    f"{INTERFACE}.Explain": Method("ssa{sv}", "aa{sv}", Action.PUBLIC, waits=True),
    f"{INTERFACE}.ListChanges": Method("a{sv}", "aa{sv}u", Action.PUBLIC),
    # What the change was about says which actions it takes.
    f"{INTERFACE}.Undo": Method("a{sv}", "t", Action.MANAGE_ROUTES, waits=True, by_part=True),
    f"{INTERFACE}.Reload": Method("a{sv}", "", Action.RELOAD),
    f"{INTERFACE}.GetStatistics": Method("", "a{sv}", Action.PUBLIC),
    f"{INTERFACE}.GetPermissions": Method("", "a{ss}", Action.PUBLIC),
    CHECK: Method("sv", "s", Action.PUBLIC, waits=True),
    f"{_BUS}.Properties.Get": Method("ss", "v", Action.PUBLIC),
    f"{_BUS}.Properties.GetAll": Method("s", "a{sv}", Action.PUBLIC),
    f"{_BUS}.Properties.Set": Method("ssv", "", Action.PUBLIC),  # all properties are read-only
    SET_LOG: Method("ssv", "", Action.RELOAD),
    f"{_BUS}.Introspectable.Introspect": Method("", "s", Action.PUBLIC),
    f"{_BUS}.Peer.Ping": Method("", "", Action.PUBLIC),
    f"{_BUS}.Peer.GetMachineId": Method("", "s", Action.PUBLIC),
}

# What somebody asks for who calls a method that changes something.
ACTS = {
    f"{INTERFACE}.AddRoute": Act.ADD,
    f"{INTERFACE}.ChangeRoute": Act.CHANGE,
    f"{INTERFACE}.DeleteRoute": Act.DELETE,
    f"{INTERFACE}.FlushRoutes": Act.FLUSH,
    f"{INTERFACE}.JoinGroup": Act.JOIN,
    f"{INTERFACE}.LeaveGroup": Act.LEAVE,
    f"{INTERFACE}.Apply": Act.APPLY,
    f"{INTERFACE}.Undo": Act.UNDO,
    f"{INTERFACE}.Reload": Act.RELOAD,
}

PROPERTIES = {
    "Routes": Property(ROUTES),
    "Interfaces": Property("aa{sv}"),
    "Tables": Property("aa{sv}"),
    "Memberships": Property("aa{sv}"),
    "Version": Property("s", emits="const"),
    "Generation": Property("t", emits="true"),
}

SIGNALS = {
    f"{INTERFACE}.RoutesAdded": ROUTES,
    f"{INTERFACE}.RoutesChanged": ROUTES,
    f"{INTERFACE}.RoutesRemoved": ROUTES,
    f"{INTERFACE}.MembershipsAdded": "aa{sv}",
    f"{INTERFACE}.MembershipsChanged": "aa{sv}",
    f"{INTERFACE}.MembershipsRemoved": "aa{sv}",
    f"{INTERFACE}.ChangeCaused": "a{sv}",
    f"{INTERFACE}.UnroutedTraffic": "sssu",
    f"{INTERFACE}.PermissionsChanged": "",
    f"{_BUS}.Properties.PropertiesChanged": "sa{sv}as",
}
