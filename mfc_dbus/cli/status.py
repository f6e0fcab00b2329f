"""The exit status of a command, and its line on stderr."""

import enum
import json
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
    "NoSuchChange": Status.NOT_FOUND,
    "NoSuchInterface": Status.NOT_FOUND,
    "NoSuchMembership": Status.NOT_FOUND,
    "RouteExists": Status.EXISTS,
    "MembershipExists": Status.EXISTS,
}


def status_of(error_name: str) -> Status:
    return _STATUSES.get(error_name.partition(".")[0], Status.FAILED)


def complain_of_system(error: OSError, *, as_json: bool) -> Status:
    """Write what the system did not do, and return the exit status."""
    sentence = ": ".join(filter(None, [error.filename, error.strerror]))
    complain(sentence, error="System", as_json=as_json)
    return Status.FAILED


def complain(sentence: str, *, error: str = "", as_json: bool = False, **more: object) -> None:
    """Write a line to stderr.

    error: the name of what went wrong. as_json: write an object, for programs, of `error`, the
    sentence as `message`, and more.
    """
    line = f"mfc-dbus-cli: {printable(sentence)}"
    if as_json:
        line = json.dumps({"error": error, "message": sentence, **more})
    # print writes a line and its end apart, and other programs of a pipe write to stderr, too.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
