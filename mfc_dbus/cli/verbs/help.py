"""help"""

import argparse

from mfc_dbus.cli.arguments import parse
from mfc_dbus.cli.status import Status

USAGE = "[WORD...]"

DESCRIPTION = """\
Show the help of a command, as its --help does: what it is for, and which words and
options follow."""

EXAMPLES = """\
  mfc-dbus-cli help
  mfc-dbus-cli help mfc add
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="WORD", help="such as mfc add")


def run_here(args: argparse.Namespace) -> int:
    """Raises UsageError, and SystemExit once the help is written."""
    parse([*args.words, "--help"])
    return Status.DONE  # not reached: --help exits
