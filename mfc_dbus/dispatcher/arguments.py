"""What mfc-dbus-dispatcher is started with, and the statuses that it ends with."""

import argparse
from pathlib import Path

from mfc_dbus.dispatcher.scripts import DIRECTORIES

PROGRAM = "mfc-dbus-dispatcher"
STOPPED = 0
FAILED = 1

TIMEOUT = 60  # seconds that a script may take
_MAX_TIMEOUT = 86_400

_EPILOG = f"""\
It follows the service on the bus of DBUS_SYSTEM_BUS_ADDRESS, or on the system bus, and keeps what
scripts have heard in STATE_DIRECTORY, or in /var/lib/mfc-dbus-dispatcher.

exit status:
  {STOPPED}  told to stop, by SIGTERM or SIGINT; or done, with --once or --list
  {FAILED}  could not start, or the bus has gone
  2  usage
"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Run scripts when routes, memberships, interfaces or streams change.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT,
        metavar="SEC",
        help=f"how long a script may take before it is ended (default: {TIMEOUT})",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        action="append",
        metavar="DIR",
        help="where scripts are; may be given again, and hides what earlier ones have of the same "
        f"names (default: {', then '.join(map(str, DIRECTORIES))})",
    )
    parser.add_argument(
        "--once", action="store_true", help="tell scripts what they have not heard yet, and end"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write the events as lines of JSON; run nothing, and keep nothing",
    )
    parser.add_argument(
        "--list", action="store_true", help="show which scripts would run, and why others would not"
    )
    parser.add_argument("--version", action="store_true", help="show the version")
    return parser


def _seconds(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) <= _MAX_TIMEOUT):
        raise argparse.ArgumentTypeError(f"'{value}' is no number of seconds, 1 to {_MAX_TIMEOUT}")
    return int(value)
