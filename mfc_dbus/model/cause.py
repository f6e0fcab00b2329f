"""Who or what makes a change (pure)."""

from enum import StrEnum
from typing import NamedTuple


class CauseKind(StrEnum):
    """What brings a change about."""

    CALL = "call"  # somebody asked for it over the bus
    RELOAD = "reload"  # somebody had the configuration read again
    EXPIRY = "expiry"  # the time of a route has run out
    INTERFACE = "interface"  # an interface came, went, or turned; or the kernel has room again
    TABLE = "table"  # a routing table of the kernel became ours, or is ours no longer
    START = "start"  # the service has started


class Act(StrEnum):
    """What somebody asks for, or what happens by itself."""

    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"
    FLUSH = "flush"
    APPLY = "apply"
    JOIN = "join"
    LEAVE = "leave"
    UNDO = "undo"
    RELOAD = "reload"
    EXPIRE = "expire"
    STATE = "state"
    RESTORE = "restore"


class Author(NamedTuple):
    """A caller, as the bus knows it.

    user: the name of the uid, empty where nobody knows it. sender: its unique name on the bus.
    pid: of its process, 0 where the bus does not say it.
    """

    uid: int
    user: str = ""
    sender: str = ""
    pid: int = 0

    def __str__(self) -> str:
        who = f"uid {self.uid}, {self.sender}"
        return f"{self.user} ({who})" if self.user else f"{self.sender} (uid {self.uid})"


class Cause(NamedTuple):
    """What brings a change about, what is done, and who asked for it, if anybody did.

    undoes: the number in the history of the change that is undone, 0 for any other.
    """

    kind: CauseKind
    act: Act
    author: Author | None = None
    undoes: int = 0


def asked(act: Act, author: Author | None = None) -> Cause:
    """Name the cause of what somebody asks for over the bus."""
    return Cause(CauseKind.CALL, act, author)


BY_INTERFACE = Cause(CauseKind.INTERFACE, Act.STATE)
BY_TABLE = Cause(CauseKind.TABLE, Act.STATE)
BY_EXPIRY = Cause(CauseKind.EXPIRY, Act.EXPIRE)
BY_START = Cause(CauseKind.START, Act.RESTORE)
