"""How a command ends: its exit status, and its one line on stderr."""

import enum
import sys

from mfc_dbus.model.quoting import printable


class Status(enum.IntEnum):
    """The exit statuses; --help documents them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    TIMED_OUT = 3
    NOT_AUTHORISED = 4
    NOT_RUNNING = 5
    NOT_FOUND = 6
    EXISTS = 7


# By the error's name; one that is missing here is FAILED.
_STATUSES = {
    "InvalidArgs": Status.USAGE,
    "Timeout": Status.TIMED_OUT,
    "AccessDenied": Status.NOT_AUTHORISED,
    "InteractiveAuthorizationRequired": Status.NOT_AUTHORISED,
    "ServiceUnknown": Status.NOT_RUNNING,
    "NameHasNoOwner": Status.NOT_RUNNING,
    "NoReply": Status.NOT_RUNNING,
    "NoServer": Status.NOT_RUNNING,
    "Disconnected": Status.NOT_RUNNING,
    "Spawn": Status.NOT_RUNNING,  # and Spawn.…: the bus could not start it
    "NoSuchRoute": Status.NOT_FOUND,
    "NoSuchInterface": Status.NOT_FOUND,
    "NoSuchMembership": Status.NOT_FOUND,
    "RouteExists": Status.EXISTS,
    "MembershipExists": Status.EXISTS,
}


def status_of(error_name: str) -> Status:
    return _STATUSES.get(error_name.partition(".")[0], Status.FAILED)


def complain(sentence: str) -> None:
    # Print writes a line and its end apart, and other programs of a pipe write there too.
    sys.stderr.write(f"mfc-dbus-cli: {printable(sentence)}\n")
    sys.stderr.flush()
