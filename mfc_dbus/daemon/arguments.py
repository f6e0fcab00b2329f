"""What mfc-dbusd is started with, and the statuses that it ends with."""

import argparse
from typing import NoReturn

from mfc_dbus.names import BUS_NAME

STOPPED = 0
FAILED = 1
NAME_TAKEN = 3
BUS_LOST = 4

_EPILOG = f"""\
It serves {BUS_NAME} on the bus of DBUS_SYSTEM_BUS_ADDRESS, or on the
system bus. Routes and memberships are kept under STATE_DIRECTORY; those that are not to
outlive a reboot end with RUNTIME_DIRECTORY.

exit status:
  {STOPPED}  told to stop, by SIGTERM or SIGINT
  {FAILED}  could not start: no bus, no permission
  2  usage
  {NAME_TAKEN}  another process owns the name on the bus
  {BUS_LOST}  the bus has gone
"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mfc-dbusd",
        description="Hold the kernel's static multicast routes, and offer them on D-Bus.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="log more")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    return parser


class _Version(argparse.Action):
    """Tells the version, which only an installed package has: the manual page is made before."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from mfc_dbus.version import VERSION

        print(VERSION)  # noqa: T201
        parser.exit()
