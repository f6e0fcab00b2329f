"""Objects, verbs and options: what may be typed, and what it means.

Words may be shortened to any beginning that no other word shares, as in iproute2.
"""

import argparse
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol, cast

from mfc_dbus.cli.options import add_options, text
from mfc_dbus.cli.parser import Parser, UsageError, did_you_mean
from mfc_dbus.model.options import TABLE

if TYPE_CHECKING:
    from mfc_dbus.client import Client

PROGRAM = "mfc-dbus-cli"
COMMON = "common options"  # of every command


class Verb(Protocol):
    """A module of cli/verbs.

    In the place of `run`, a verb that needs no service has `run_here(args)`, and a verb that
    follows signals of the service on an event loop has `follow(client, args)`.
    """

    __name__: str
    USAGE: str
    DESCRIPTION: str
    EXAMPLES: str
    CHANGES: bool  # needs authorisation, so there may be a password prompt

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    async def run(self, client: "Client", args: argparse.Namespace) -> int: ...


class Command(NamedTuple):
    """A word of the command line: a verb with its module, or the words that may follow it.

    defaults: values of the verb's arguments, by name.
    """

    summary: str
    module: str = ""
    defaults: Mapping[str, str] = {}
    words: Mapping[str, "Command"] = {}
    default: str = ""
    examples: str = ""


COMMANDS = Command(
    "show and change the static multicast routes and memberships of this machine, by its "
    "mfc-dbus service",
    words={
        "show": Command("routes (the default), streams, interfaces, memberships and more", "show"),
        "mfc": Command(
            "add, change, delete and flush routes: the kernel's multicast forwarding cache",
            words={
                "show": Command("the routes", "show", {"what": "routes"}),
                "add": Command("add a route, or replace one", "add"),
                "change": Command("change a part of a route, or switch it off and on", "change"),
                "del": Command("delete a route", "delete"),
                "flush": Command("delete all routes, or some", "flush"),
            },
            examples="""\
  mfc-dbus-cli mfc add --source 10.0.1.10 --group 239.1.1.1 --iif eth1 --oifs eth2 eth3
  mfc-dbus-cli mfc change --source 10.0.1.10 --group 239.1.1.1 --add-oifs eth4
  mfc-dbus-cli mfc del --source 10.0.1.10 --group 239.1.1.1
  mfc-dbus-cli mfc flush --iif eth1
""",
        ),
        "group": Command(
            "join and leave multicast groups, as a receiver would",
            words={
                "show": Command("the groups that were joined", "show", {"what": "memberships"}),
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
        "edit": Command("change the routes in an editor", "edit"),
        "import": Command("turn an smcroute.conf into a document", "import_"),
        "check": Command("find what is wrong with files, without a service", "check"),
        "top": Command("what flows, and how fast, on a screen that follows it", "top"),
        "monitor": Command("tell of each change, until interrupted", "monitor"),
        "history": Command("who changed what, and when", "history"),
        "undo": Command("undo your last change, or another", "undo"),
        "discover": Command("tell what arrives and is not routed, until interrupted", "discover"),
        "explain": Command("why a stream is forwarded or not, and what to do", "explain"),
        "batch": Command("do what lines of JSON ask for", "batch"),
        "shell": Command("do commands line by line, for one password", "shell"),
        "metrics": Command("write metrics, for Prometheus", "metrics"),
        "status": Command("how the service is, and what is wrong", "status"),
        "reload": Command("have the service read its configuration again", "reload"),
        "help": Command("show the help of a command, as its --help does", "help"),
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
  mfc-dbus-cli explain 10.0.1.10 239.1.1.1      why it is not forwarded
  mfc-dbus-cli undo                 your last change
  mfc-dbus-cli --json show | jq '.[].group'

words may be shortened: "mfc-dbus-cli s i" is "mfc-dbus-cli show interfaces"
""",
)

# Other words, and beginnings that mean what they have always meant, whatever else begins so.
_ALIASES = {
    "delete": "del",
    "remove": "del",
    "modify": "change",
    "list": "show",
    "s": "show",
    "sh": "show",
    "e": "export",
    "ex": "export",
    "exp": "export",
    "h": "help",
}

# What to type for a verb without its object, such as "mfc add" for "add".
_ELSEWHERE = {
    verb: f"{word} {verb}" for word, command in COMMANDS.words.items() for verb in command.words
}

EXITS = """\
exit status:
  0 done   1 failed   2 wrong usage   3 timed out   4 not authorised
  5 service not running   6 not found   7 exists already
"""


def parse(argv: Sequence[str]) -> tuple[Verb, argparse.Namespace]:
    """Return the verb and its arguments. Raises UsageError; --help and --version exit."""
    args = argparse.Namespace()
    command, words, program = COMMANDS, list(argv), PROGRAM
    given: set[str] = set()
    while command.words:
        parser = make_parser(program, command, given)
        parser.parse_args(words, args)
        words = args.words
        if words or command.default:
            word = words.pop(0) if words else command.default
            word = complete(word, command.words, _ELSEWHERE)
        else:
            parser.error(f"say what to do: {join(command.words)}")
        command = command.words[word]
        vars(args).update(command.defaults)
        program += f" {word}"

    vars(args).pop("words")  # of the parsers so far
    make_parser(program, command, given).parse_whole(words, args)
    return load(command), args


def load(command: Command) -> Verb:
    """Import the module of a verb."""
    return cast("Verb", importlib.import_module(f"mfc_dbus.cli.verbs.{command.module}"))


def make_parser(program: str, command: Command, given: set[str]) -> Parser:
    """Make the parser of what follows the words of `program`. given: see Parser."""
    if command.words:
        return _group_parser(program, command, given)
    verb = load(command)
    parser = _parser(program, verb.USAGE, verb.DESCRIPTION, verb.EXAMPLES, given)
    verb.add_arguments(parser)
    _add_common_arguments(parser)
    return parser


def complete(word: str, words: Iterable[str], elsewhere: Mapping[str, str] = {}) -> str:
    """Return the only word that begins with this one. Raises UsageError for none or several.

    elsewhere: what to say instead of words that are none of these.
    """
    word = next((to for of, to in _ALIASES.items() if of == word and to in words), word)
    found = [candidate for candidate in words if word and candidate.startswith(word)]
    if word in found or len(found) == 1:
        return word if word in found else found[0]
    if found:
        raise UsageError(f"'{word}' may be more than one of {join(found)}")
    meant = {**elsewhere, **{each: each for each in words}}
    meant |= {alias: meant[to] for alias, to in _ALIASES.items() if to in meant}
    raise UsageError(f"'{word}' is none of {join(words)}{did_you_mean(word, meant)}")


def join(words: Iterable[str]) -> str:
    return ", ".join(words)


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


def add_which_route_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which of the routes is meant that there are."""
    add_stream_arguments(parser)
    parser.add_argument(
        "-i", "--iif", type=text, metavar="IF", help="only a route from this interface"
    )
    add_options(parser, [TABLE])


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


def add_may(parser: argparse.ArgumentParser) -> None:
    """Add --may, for a verb that makes one change: see cli/asking.py."""
    parser.add_argument(
        "--may",
        action="store_true",
        help="do nothing, and tell whether you may do this: yes, with a password, or no (exit "
        "status 4, also where nobody can be asked for the password)",
    )


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(PROGRAM, version("mfc-dbus"))
        parser.exit()


def _parser(program: str, usage: str, description: str, examples: str, given: set[str]) -> Parser:
    return Parser(
        given,
        prog=program,
        usage=f"{program} [OPTION...] {usage}".rstrip(),
        description=description,
        epilog=f"examples:\n{examples}\n{EXITS}",
    )


def _group_parser(program: str, command: Command, given: set[str]) -> Parser:
    usage = "OBJECT [VERB] ..." if program == PROGRAM else "VERB ..."
    width = max(map(len, command.words)) + 2
    words = [f"  {word:{width}}{one.summary}" for word, one in command.words.items()]
    summary = f"{command.summary[0].upper()}{command.summary[1:]}."
    description = "\n".join([summary, "", *words])
    parser = _parser(program, usage, description, command.examples, given)
    if program == PROGRAM:
        parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    _add_common_arguments(parser)
    return parser


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(COMMON)
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
