"""The options of routes and memberships: all but their addresses and interfaces (pure).

This is their only table: the bus, documents, the store, batch and the command line read and write
the options that are here. A new option is an entry here and its behaviour: a field of Route or
Membership, and a parameter of the function that parses one. A test names the other places that have
to know it: the typed client and the contract.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple


class Flag(NamedTuple):
    """The flag of an option on the command line.

    word: such as "--comment"; for an option that is true or false it sets the other value than the
    default. metavar: stands for the value in the help. short: such as "-t". back: the word that
    sets the default again, where something that is there is changed.
    """

    word: str
    help: str
    metavar: str = ""
    short: str = ""
    back: str = ""


class Option(NamedTuple):
    """An option of a route, of a membership, or of a call that adds one.

    name: the same on the bus, in documents and requests, as attribute and as the client's
    parameter, where a hyphen is an underscore. signature: the D-Bus type of its value. default: its
    value where it is left out. kind: the type of its value in words. meaning: explains it in the
    schema of documents.
    """

    name: str
    signature: str
    default: Any
    kind: str
    flag: Flag
    meaning: str = ""
    example: Any = None

    @property
    def parameter(self) -> str:
        """Its name in Python."""
        return self.name.replace("-", "_")


def _with_help(option: Option, help_: str) -> Option:
    """Say the same option in other words on the command line."""
    return option._replace(flag=option.flag._replace(help=help_))


_TRUTH = "true or false"
SECONDS = "a number of seconds"

TTLS = Option(
    name="ttls",
    signature="a{sy}",
    default={},
    kind="an object: oif to TTL threshold",
    flag=Flag(
        "--ttl",
        "send by IF only packets whose TTL is greater than N (1 to 254, IPv4; default 1)",
        metavar="IF=N",
    ),
    meaning="TTL thresholds of oifs, where not 1: packets with a greater TTL leave",
    example={"eth3": 16},
)
COMMENT = Option(
    name="comment",
    signature="s",
    default="",
    kind="a string",
    flag=Flag("--comment", "for people", metavar="TEXT"),
    meaning="For people",
    example="the lobby",
)
PERSISTENT = Option(
    name="persistent",
    signature="b",
    default=True,
    kind=_TRUTH,
    flag=Flag(
        "--transient",
        "keep it until a stop or a reboot, over restarts",
        back="--persistent",
    ),
    meaning="Whether it outlives a reboot",
)
TABLE = Option(
    name="table",
    signature="u",
    default=0,
    kind="the number of a routing table",
    flag=Flag(
        "--table",
        "number of the kernel's routing table; default: 0",
        metavar="N",
        short="-t",
    ),
    meaning="Number of the routing table; 0: the default one",
    example=100,
)
HAIRPIN = Option(
    name="hairpin",
    signature="b",
    default=False,
    kind=_TRUTH,
    flag=Flag(
        "--hairpin", "the interface it arrives on may be one it leaves by", back="--no-hairpin"
    ),
    meaning="Whether it leaves by the interface it arrives on, if that is an oif",
)
ENABLED = Option(
    name="enabled",
    signature="b",
    default=True,
    kind=_TRUTH,
    flag=Flag("--disable", "keep it, as if it were not there until enabled", back="--enable"),
    meaning="Whether it counts; if not, it is kept, and as if it were not there",
)

# The options that a route and a membership keep, in the order of documents.
ROUTE = (TTLS, COMMENT, PERSISTENT, TABLE, HAIRPIN, ENABLED)
MEMBERSHIP = (COMMENT, PERSISTENT)

_TIMEOUT = Option(
    name="timeout",
    signature="u",
    default=None,
    kind=SECONDS,
    flag=Flag(
        "--timeout",
        "remove it after this time: seconds, or such as 5m or 1h30m; transient",
        metavar="TIME",
    ),
)
_WAIT = Option(
    name="wait",
    signature="b",
    default=False,
    kind=_TRUTH,
    flag=Flag("--wait", "accept interfaces that do not exist yet; it works once they do"),
)

# The options of the calls that add one. A timeout becomes the time at which the route expires.
ADD_ROUTE = (
    *ROUTE,
    Option(
        name="replace",
        signature="b",
        default=False,
        kind=_TRUTH,
        flag=Flag("--replace", "where there is this route already, change it and do not fail"),
    ),
    _TIMEOUT,
    _WAIT,
)
# What may be changed of a route: what is left out stays.
CHANGE_ROUTE = (
    Option(
        name="add-oifs",
        signature="as",
        default=[],
        kind="an array of strings",
        flag=Flag("--add-oifs", "interfaces that it leaves by from now on, too", metavar="IF"),
    ),
    Option(
        name="remove-oifs",
        signature="as",
        default=[],
        kind="an array of strings",
        flag=Flag("--remove-oifs", "interfaces that it leaves by no longer", metavar="IF"),
    ),
    Option(
        name="to-iif",
        signature="s",
        default=None,
        kind="a string",
        flag=Flag("--to-iif", "interface that it arrives on from now on", metavar="IF"),
    ),
    *(option for option in ROUTE if option is not TABLE),
    _with_help(_TIMEOUT, f"{_TIMEOUT.flag.help}; 0: no more"),
    _with_help(_WAIT, "accept new interfaces that do not exist yet; it works once they do"),
)
JOIN_GROUP = (
    *MEMBERSHIP,
    _with_help(_WAIT, "accept an interface that does not exist yet; join once it does"),
)


def signatures(options: Sequence[Option]) -> Mapping[str, str]:
    return {option.name: option.signature for option in options}


def choose(given: Mapping[str, Any], options: Sequence[Option]) -> dict[str, Any]:
    """Return those of the given values that belong to these options."""
    return {option.name: given[option.name] for option in options if option.name in given}


def teller(options: Sequence[Option]) -> Callable[[Any], Mapping[str, Any]]:
    """Make a function that returns a value's options that are not the default, by name.

    Nearly all of 100,000 routes have the defaults: one comparison finds that.
    """
    read = attrgetter(*(option.name for option in options))
    defaults = tuple(option.default for option in options)

    def said(value: Any) -> Mapping[str, Any]:
        values = read(value)
        if values == defaults:
            return {}
        return {
            option.name: each
            for option, each in zip(options, values, strict=True)
            if each != option.default
        }

    return said


# Both work for a route or membership, for an entry of a document and for a report.
said_of_route = teller(ROUTE)
said_of_membership = teller(MEMBERSHIP)
