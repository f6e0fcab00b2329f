"""import"""

import argparse
import sys

from mfc_dbus.cli.status import Status, complain

USAGE = "FILE|-"

DESCRIPTION = """\
Turn the configuration of smcroute, an smcroute.conf and what it includes, into a document for
"apply" or for /etc/mfc-dbus/routes.d, on stdout: TOML, or with --json JSON. TTL thresholds and
disabled interfaces of its phyint lines become part of each route, in patterns where it has any;
interfaces are taken to be enabled where no line disables them, as without smcrouted -N. What could
not be carried over is listed on stderr, by file and line; then the exit status is 1. Changes
nothing."""

EXAMPLES = """\
  mfc-dbus-cli import /etc/smcroute.conf >routes.toml
  mfc-dbus-cli import /etc/smcroute.conf | mfc-dbus-cli apply - --dry-run
"""

CHANGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE|-", help="the smcroute.conf")


def run_here(args: argparse.Namespace) -> int:
    from mfc_dbus.cli.documents import complain_of, read_given
    from mfc_dbus.documents import document, smcroute

    text = read_given(args.file).decode(errors="replace")
    imported = smcroute.read(args.file, text)
    if args.json:
        print(document.to_json(imported.routes, imported.memberships).decode())
    else:
        print(document.to_toml(imported.routes, imported.memberships), end="")
    sys.stdout.flush()
    for problem in imported.left_out:
        complain_of(problem, as_json=args.json)
    if imported.more:
        complain(f"{imported.more} more lines or parts of them were left out")
    return Status.FAILED if imported.left_out else Status.DONE
