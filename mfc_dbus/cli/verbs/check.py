"""check"""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mfc_dbus.cli.status import Status, complain

if TYPE_CHECKING:
    from mfc_dbus.model.problems import Problem

USAGE = "[FILE...]"

DESCRIPTION = """\
Find all that is wrong with files, without a service: documents for "apply" (TOML or JSON), the
settings mfc-dbus.toml, an smcroute.conf for "import", or a directory with settings and routes.d;
without a FILE /etc/mfc-dbus, as a reload would read it. Its name tells what a file is:
mfc-dbus.toml has settings, *.conf is smcroute's, and all others are documents. The standard input,
-, is a document.

Each problem is told with file and line; then the exit status is 2. With --json an array of objects
on stdout: file, line (or null), message. Whether interfaces exist is not looked at."""

EXAMPLES = """\
  mfc-dbus-cli check && systemctl reload mfc-dbus
  mfc-dbus-cli check routes.toml /etc/smcroute.conf
  mfc-dbus-cli --json check /srv/routers/berlin | jq -r '.[].message'
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="file or directory, or -")


def run_here(args: argparse.Namespace) -> int:
    from mfc_dbus.cli.checking import Checker
    from mfc_dbus.config.settings import DIRECTORY

    checker = Checker()
    for name in args.files:
        checker.check(name)
    if not args.files:
        checker.check_directory(Path(os.environ.get("CONFIGURATION_DIRECTORY", DIRECTORY)))
    problems = checker.problems
    if args.json:
        print(json.dumps([_object(problem) for problem in problems]))
    else:
        for problem in problems:
            complain(str(problem))
        if not problems:
            count = checker.count
            print(f"{count} file{'' if count == 1 else 's'} in order")
    return Status.USAGE if problems else Status.DONE


def _object(problem: "Problem") -> dict[str, object]:
    return {"file": problem.file, "line": problem.line, "message": problem.sentence}
