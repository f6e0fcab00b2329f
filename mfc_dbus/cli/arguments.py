"""Objects, verbs and options: what may be typed, and what it means.

Words may be shortened to any beginning that no other word shares, as in iproute2.
"""

import argparse
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol, cast, runtime_checkable

from mfc_dbus.cli.text import on_bus

if TYPE_CHECKING:
    from mfc_dbus.client import Client

PROGRAM = "mfc-dbus-cli"

_MAX_SECONDS = 2**32 - 1  # that D-Bus can carry


class UsageError(Exception):
    """The command line makes no sense; the text is a sentence."""


class Verb(Protocol):
    """A file of this directory."""

    USAGE: str
    DESCRIPTION: str
    EXAMPLES: str
    CHANGES: bool  # needs authorisation, so there may be a password prompt

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    async def run(self, client: "Client", args: argparse.Namespace) -> int: ...


@runtime_checkable
class Local(Protocol):
    """A verb that needs no service."""

    def run_here(self, args: argparse.Namespace) -> int: ...


class Command(NamedTuple):
    """A word: a verb's module, or what may follow."""

    summary: str
    module: str = ""
    words: Mapping[str, "Command"] = {}
    default: str = ""
    examples: str = ""


COMMANDS = Command(
    "show and change the static multicast routes and memberships of this machine, by its "
    "mfc-dbus service",
    words={
        "show": Command("routes (the default), interfaces, tables or memberships", "show"),
        "mfc": Command(
            "add, delete and flush routes: the kernel's multicast forwarding cache",
            words={
                "add": Command("add a route, or replace one", "add"),
                "del": Command("delete a route", "delete"),
                "flush": Command("delete all routes, or some", "flush"),
            },
            examples="""\
  mfc-dbus-cli mfc add --source 10.0.1.10 --group 239.1.1.1 --iif eth1 --oifs eth2 eth3
  mfc-dbus-cli mfc del --source 10.0.1.10 --group 239.1.1.1
  mfc-dbus-cli mfc flush --iif eth1
""",
        ),
        "group": Command(
            "join and leave multicast groups, as a receiver would",
            words={
                "join": Command("join a group on an interface", "join"),
                "leave": Command("leave it", "leave"),
            },
            examples="""\
  mfc-dbus-cli group join --group 239.1.1.1 --interface eth1
  mfc-dbus-cli group leave --group 239.1.1.1 --interface eth1
""",
        ),
        "apply": Command("make the routes of a document those of the service", "apply"),
        "export": Command("write the routes as a document", "export"),
        "import": Command("turn an smcroute.conf into a document", "import_"),
        "monitor": Command("tell of each change, until interrupted", "monitor"),
        "discover": Command("tell what arrives and is not routed, until interrupted", "discover"),
        "batch": Command("do what lines of JSON ask for", "batch"),
    },
    default="show",
    examples="""\
  mfc-dbus-cli                      the routes
  mfc-dbus-cli show interfaces      the interfaces that they use, with counters
  mfc-dbus-cli mfc add --source 10.0.1.10 --group 239.1.1.1 --iif eth1 --oifs eth2 eth3
  mfc-dbus-cli mfc add --group ff3e::1 --iif eth1 --oifs eth2      from any source
  mfc-dbus-cli mfc del --source 10.0.1.10 --group 239.1.1.1
  mfc-dbus-cli monitor              each change as it happens
  mfc-dbus-cli export >routes.toml  and back: mfc-dbus-cli apply routes.toml
  mfc-dbus-cli discover             what arrives and has no route
  mfc-dbus-cli --json show | jq '.[].group'

words may be shortened: "mfc-dbus-cli s i" is "mfc-dbus-cli show interfaces"
""",
)

_ALIASES = {"delete": "del"}

EXITS = """\
exit status:
  0 done   1 failed   2 wrong usage   3 timed out   4 not authorised
  5 service not running   6 not found   7 exists already
"""


def parse(argv: Sequence[str]) -> tuple[Verb, argparse.Namespace]:
    """Find the verb and its arguments. Raises UsageError; --help and --version exit."""
    args = argparse.Namespace()
    command, words, program = COMMANDS, list(argv), PROGRAM
    while command.words:
        parser = _group_parser(program, command)
        parser.parse_args(words, args)
        words = args.words
        if words or command.default:
            word = complete(words.pop(0) if words else command.default, command.words)
        else:
            parser.error(f"say what to do: {join(command.words)}")
        command = command.words[word]
        program += f" {word}"

    verb = cast("Verb", importlib.import_module(f"mfc_dbus.cli.verbs.{command.module}"))
    parser = _parser(program, verb.USAGE, verb.DESCRIPTION, verb.EXAMPLES)
    verb.add_arguments(parser)
    _add_common_arguments(parser)
    parser.parse_args(words, args)
    return verb, args


def complete(word: str, words: Iterable[str]) -> str:
    """Find the word that this is the beginning of. Raises UsageError."""
    word = _ALIASES.get(word, word)
    found = [candidate for candidate in words if word and candidate.startswith(word)]
    if word in found or len(found) == 1:
        return word if word in found else found[0]
    problem = "may be more than one" if found else "is none"
    raise UsageError(f"'{word}' {problem} of {join(found or words)}")


def join(words: Iterable[str]) -> str:
    return ", ".join(words)


# Types of arguments, in argparse's sense


def text(value: str) -> str:
    """Take what the bus can carry."""
    if not on_bus(value):
        raise argparse.ArgumentTypeError("it is not valid UTF-8")
    return value


def names(value: str) -> list[str]:
    """Split "eth1,eth2"."""
    parts = text(value).split(",")
    if not all(parts):
        raise argparse.ArgumentTypeError(f"'{value}' has an empty name in it")
    return parts


def threshold(value: str) -> tuple[str, int]:
    """Split "eth2=16"."""
    name, _, ttl = text(value).rpartition("=")
    # The service says which of the numbers that a byte can hold make sense.
    if not (name and ttl.isascii() and ttl.isdigit() and len(ttl) <= 3 and int(ttl) <= 255):
        raise argparse.ArgumentTypeError(f"'{value}' is not of the form IF=N, with N from 1 to 254")
    return name, int(ttl)


def seconds(value: str) -> int:
    """Read a time that D-Bus can carry."""
    if not (
        value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= _MAX_SECONDS
    ):
        raise argparse.ArgumentTypeError(
            f"'{text(value)}' is not a number of seconds up to {_MAX_SECONDS}"
        )
    return int(value)


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-s",
        "--source",
        type=text,
        default="*",
        help="sender's address or prefix; left out or *: any",
    )
    parser.add_argument(
        "-g", "--group", type=text, required=True, help="multicast group, or a prefix of groups"
    )


def table_number(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise argparse.ArgumentTypeError(f"'{text(value)}' is not the number of a routing table")
    return int(value)


def add_table_argument(parser: argparse.ArgumentParser, default: int | None = 0) -> None:
    parser.add_argument(
        "-t",
        "--table",
        type=table_number,
        default=default,
        metavar="N",
        help="the kernel's routing table, where not the default one",
    )


def add_membership_arguments(parser: argparse.ArgumentParser) -> None:
    add_stream_arguments(parser)
    parser.add_argument(
        "-i",
        "--interface",
        type=text,
        required=True,
        metavar="IF",
        help="interface that it is joined on",
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(PROGRAM, version("mfc-dbus"))
        parser.exit()


def _parser(program: str, usage: str, description: str, examples: str) -> _Parser:
    return _Parser(
        prog=program,
        usage=f"{program} [OPTION...] {usage}".rstrip(),
        description=description,
        epilog=f"examples:\n{examples}\n{EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _group_parser(program: str, command: Command) -> _Parser:
    usage = "OBJECT [VERB] ..." if program == PROGRAM else "VERB ..."
    width = max(map(len, command.words)) + 2
    words = [f"  {word:{width}}{one.summary}" for word, one in command.words.items()]
    summary = f"{command.summary[0].upper()}{command.summary[1:]}."
    parser = _parser(program, usage, "\n".join([summary, "", *words]), command.examples)
    if program == PROGRAM:
        parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    _add_common_arguments(parser)
    return parser


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("common options")
    group.add_argument("--json", action="store_true", help="write JSON, for programs")
    group.add_argument(
        "--no-ask-password", action="store_true", help="fail where a password would be asked for"
    )
    group.add_argument(
        "-H",
        "--host",
        type=_host,
        metavar="[USER@]HOST",
        help="do it on another machine, over ssh",
    )


def _host(value: str) -> str:
    if not value or value.startswith("-"):
        raise argparse.ArgumentTypeError(f"'{value}' is not a host")
    return value
