"""What Explain finds: why a stream is forwarded or not (pure).

The bus has the value of a code and a level, as the contract lists them.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

MAX_SECONDS = 60  # for which counters are watched at most
DEFAULT_SECONDS = 2

Fact = str | int | float | bool | Sequence[str]


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"  # it may matter, or explain something else
    PROBLEM = "problem"


class Code(StrEnum):
    """The causes that are told apart, in the order of a packet's way."""

    FLOWING = "flowing"
    # Its addresses.
    NOT_MULTICAST = "not-multicast"
    NEVER_FORWARDED = "never-forwarded"
    WRONG_SOURCE = "wrong-source"
    # What decides on it.
    SERVICE_STUCK = "service-stuck"
    TABLE_NOT_OURS = "table-not-ours"
    NO_ROUTE = "no-route"
    DISABLED = "disabled"
    STOPPED = "stopped"
    # Its interfaces.
    IIF_MISSING = "iif-missing"
    OIF_MISSING = "oif-missing"
    NO_ROOM = "no-room"
    INTERFACE_DOWN = "interface-down"
    NO_CARRIER = "no-carrier"
    BRIDGE_PORT = "bridge-port"
    OIF_IPV6_DISABLED = "oif-ipv6-disabled"
    TABLE_NOT_CHOSEN = "table-not-chosen"
    MRULE = "mrule"
    # Its arrival.
    WRONG_INTERFACE = "wrong-interface"
    ARRIVES_ELSEWHERE = "arrives-elsewhere"
    RP_FILTER = "rp-filter"
    CHECKSUM = "checksum"
    SOURCE_DIFFERS = "source-differs"
    LEARNING = "learning"
    LIMIT = "limit"
    OTHERHOST = "otherhost"
    INGRESS = "ingress"
    PREROUTING = "prerouting"
    NOTHING_ARRIVES = "nothing-arrives"
    # Its departure.
    TTL_EXPIRED = "ttl-expired"
    TTL_THRESHOLD = "ttl-threshold"
    TOO_BIG = "too-big"
    QUEUE_FULL = "queue-full"
    FORWARD = "forward"
    POSTROUTING = "postrouting"
    EGRESS = "egress"
    SNOOPING_OIF = "snooping-oif"


class Finding(NamedTuple):
    """One cause, or that there is none.

    sentence: what was seen, with its values. remedy: a command to type; words in capitals are for
    the one who types to replace; empty where nothing helps on this machine. evidence: the values,
    by name.
    """

    code: Code
    level: Level
    sentence: str
    remedy: str = ""
    evidence: Mapping[str, Fact] = {}
