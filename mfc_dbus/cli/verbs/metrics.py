"""metrics"""

import argparse
import json
from typing import TYPE_CHECKING

from mfc_dbus.cli.options import number
from mfc_dbus.cli.status import Status, complain

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "[--routes N] [--format FORMAT]"

DESCRIPTION = """\
Write metrics of the service, in OpenMetrics, as Prometheus reads them: of the service, the tables,
the interfaces, memberships, how many routes there are in each state, and of each route its packets
and bytes. Of more routes than --routes the others have no series of their own: mfc_routes_left_out
says how many these are. Where the service does not run it writes that (mfc_up), and ends with 5.

With --json an array of objects: name, labels (an object), value."""

EXAMPLES = """\
  mfc-dbus-cli metrics
  mfc-dbus-cli metrics --format text >/var/lib/prometheus/node-exporter/mfc.prom
"""

CHANGES = False

_FORMATS = ("openmetrics", "text")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--routes",
        type=number("a number of routes"),
        metavar="N",
        help="how many routes have series of their own (default: 1000)",
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default=_FORMATS[0],
        help="text: Prometheus' older format, as its node exporter reads it from files",
    )


async def run(client: "Client", args: argparse.Namespace) -> int:
    from mfc_dbus.client.remote import GONE
    from mfc_dbus.metrics.arguments import MAX_ROUTES
    from mfc_dbus.metrics.families import families
    from mfc_dbus.metrics.reading import read
    from mfc_dbus.metrics.text import FORMATS, registry

    reading = await read(client)
    metrics = [*families(reading, MAX_ROUTES if args.routes is None else args.routes)]
    if args.json:
        samples = [
            {"name": sample.name, "labels": sample.labels, "value": sample.value}
            for metric in metrics
            for sample in metric.samples
        ]
        print(json.dumps(samples).replace('}, {"', '},\n {"'))
    else:
        print(FORMATS[args.format](registry(metrics)).decode(), end="")
    if reading is None:
        complain(GONE["ServiceUnknown"], error="ServiceUnknown", as_json=args.json)
        return Status.NOT_RUNNING
    return Status.DONE
