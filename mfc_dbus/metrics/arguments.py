"""What mfc-dbus-exporter is started with, and the statuses that it ends with."""

import argparse
import ipaddress
from typing import NoReturn

PROGRAM = "mfc-dbus-exporter"
STOPPED = 0
FAILED = 1

MAX_ROUTES = 1000  # with series of their own, where nothing else is said
_ADDRESS = "127.0.0.1:9942"
_MAX_PORT = 65535

_EPILOG = f"""\
It asks the service on the bus of DBUS_SYSTEM_BUS_ADDRESS, or on the system bus, each time somebody
asks for /metrics. Sockets that systemd hands over take the place of --listen. It needs no rights.

exit status:
  {STOPPED}  told to stop, by SIGTERM or SIGINT
  {FAILED}  could not start, or the bus has gone
  2  usage
"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Offer the metrics of mfc-dbus to Prometheus.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--listen",
        type=_loopback,
        default=_ADDRESS,
        metavar="ADDRESS:PORT",
        help=f"where to listen, an address of this machine's loopback (default: {_ADDRESS})",
    )
    parser.add_argument(
        "--routes",
        type=_number,
        default=MAX_ROUTES,
        metavar="N",
        help=f"how many routes have series of their own (default: {MAX_ROUTES})",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    return parser


class _Version(argparse.Action):
    """Tells the version, which only an installed package has: the manual page is made before."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from mfc_dbus.version import VERSION

        print(PROGRAM, VERSION)
        parser.exit()


def _loopback(value: str) -> tuple[str, int]:
    """Read "127.0.0.1:9942" or "[::1]:9942". Raises ArgumentTypeError."""
    host, _, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback or _number(port) > _MAX_PORT:
        raise argparse.ArgumentTypeError(
            f"'{value}' is no ADDRESS:PORT of the loopback: for others have systemd listen"
        )
    return host, _number(port)


def _number(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise argparse.ArgumentTypeError(f"'{value}' is not a number")
    return int(value)
