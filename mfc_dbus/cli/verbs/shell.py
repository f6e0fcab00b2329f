"""shell"""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mfc_dbus.cli.status import Status, complain, complain_of_system

if TYPE_CHECKING:
    from mfc_dbus.cli.arguments import Verb
    from mfc_dbus.client import Client

USAGE = "[FILE]"

DESCRIPTION = """\
Do commands one after the other, each a line as it is typed behind "mfc-dbus-cli", of a FILE or of
the standard input. Who has to type a password types it once for all of them. Quotes, backslashes
and comments (#) are as in other shells, and there are no variables or pipes.

At a terminal it asks for a line with "mfc>", completes words with the tabulator, and ends with
"exit" or control-D. Elsewhere it ends at the first line that fails, with its exit status.
Commands that go on until they are interrupted, and "batch", have no place here, nor have --may and
--host: say --host before "shell"."""

EXAMPLES = """\
  mfc-dbus-cli shell
  mfc-dbus-cli shell routes.txt
with lines such as
  mfc add -s 10.0.1.10 -g 239.1.1.1 -i eth1 -o eth2
  group join -g 239.1.1.1 -i eth1
"""

CHANGES = True
PROMPT = "mfc> "

_ENDS = ("exit", "quit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="default: the standard input")


async def run(client: "Client", args: argparse.Namespace) -> int:
    may_ask = client.interactive
    at_terminal = not args.file and sys.stdin is not None and sys.stdin.isatty()
    status: int = Status.DONE
    for number, line in enumerate(_typed() if at_terminal else _lines(args.file), 1):
        status = await _do(client, line, args, may_ask=may_ask)
        sys.stdout.flush()
        if status and not at_terminal:
            complain(f"line {number} of {args.file or 'the standard input'} has failed")
            break
    return status


async def _do(client: "Client", line: str, args: argparse.Namespace, *, may_ask: bool) -> int:
    """Do a line, and return its exit status. args: of the shell itself."""
    from mfc_dbus.cli.arguments import parse
    from mfc_dbus.cli.parser import UsageError
    from mfc_dbus.cli.session import complain_of
    from mfc_dbus.client import ClientError

    inner = args
    try:
        words = shlex.split(line, comments=True)
        if not words:
            return Status.DONE
        verb, inner = parse(words)
        inner.json = inner.json or args.json
        _check_place(verb, inner, reads_stdin=not args.file)
        if hasattr(verb, "run_here"):
            return int(verb.run_here(inner))
        client.interactive = may_ask and not inner.no_ask_password
        return await verb.run(client, inner)
    except ClientError as error:
        return complain_of(error, inner)
    except (UsageError, ValueError) as error:  # ValueError: a quotation that does not end
        complain(str(error), error="Usage", as_json=inner.json)
        return Status.USAGE
    except OSError as error:
        return complain_of_system(error, as_json=inner.json)
    except SystemExit as end:  # --help and --version end so
        return int(end.code or 0)


def _check_place(verb: "Verb", args: argparse.Namespace, *, reads_stdin: bool) -> None:
    """Raise UsageError for what cannot be done within a shell, which may read stdin itself."""
    from mfc_dbus.cli.parser import UsageError

    name = verb.__name__.rpartition(".")[2]
    if hasattr(verb, "follow") or name in ("batch", "shell"):
        raise UsageError(f"'{name}' has no place in a shell")
    for option in ("host", "may"):
        if getattr(args, option, None):
            raise UsageError(f"--{option} has no place in a shell")
    if reads_stdin and "-" in _files(args):
        raise UsageError("The standard input has the shell's own lines: name a file")


def _files(args: argparse.Namespace) -> Sequence[str]:
    file = getattr(args, "file", None)
    return [file] if isinstance(file, str) else getattr(args, "files", ())


def _lines(file: str | None) -> Iterator[str]:
    # Text that is no UTF-8 is for the verbs to refuse.
    with open(file or 0, errors="surrogateescape", closefd=bool(file)) as opened:
        yield from opened


def _typed() -> Iterator[str]:
    """Ask for lines at a terminal, until somebody ends that."""
    import readline

    readline.set_completer(_Completer())
    readline.set_completer_delims(" \t\n")
    readline.parse_and_bind("tab: complete")
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            print()
            return
        if line.strip() in _ENDS:
            return
        yield line


class _Completer:
    """Offers words as the completion of other shells does."""

    def __init__(self) -> None:
        self._found: Sequence[str] = ()

    def __call__(self, beginning: str, number: int) -> str | None:
        if not number:
            self._found = self._find(beginning)
        return self._found[number] if number < len(self._found) else None

    def _find(self, beginning: str) -> Sequence[str]:
        import readline

        from mfc_dbus.cli.completion import offers

        before = readline.get_line_buffer()[: readline.get_begidx()]
        try:
            found = offers(shlex.split(before), beginning)
        except ValueError:  # within a quotation
            return []
        return [f"{offer.word} " for offer in found if offer.word]
