"""Measure what the service costs, beside the bare kernel, smcroute, Python and busctl.

Usage: make bench [ARGS='add apply --routes 20000']. Progress is on standard error.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import calls, changes, command, memory, reading, stalls, start
from bench.ground import INSTALLED, Plan, Version, go_first
from bench.others import Smcroute
from bench.sheet import Sheet

GROUPS: Mapping[str, Callable[[Plan], Sheet]] = {
    "add": command.measure,
    "apply": changes.measure,
    "start": start.measure,
    "memory": memory.measure,
    "calls": calls.measure,
    "show": reading.measure,
    "stalls": stalls.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--routes", type=int, default=100_000, help="how many, default 100000")
    parser.add_argument(
        "--smcroute-routes", type=int, default=5_000, help="its time grows by their square"
    )
    parser.add_argument("--runs", type=int, default=3, help="whose medians are shown, default 3")
    parser.add_argument(
        "--old", type=Path, metavar="DIR", help="another version's programs, to compare"
    )
    parser.add_argument("--json", action="store_true", help="for programs, in seconds and bytes")
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; default all")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"no such groups: {', '.join(sorted(unknown))}")
    versions = [INSTALLED]
    if arguments.old:
        versions = [Version("old", arguments.old.resolve()), Version("new")]
    plan = Plan(
        arguments.routes,
        min(arguments.smcroute_routes, arguments.routes),
        arguments.runs,
        versions,
    )
    go_first()
    begin = time.monotonic()
    sheets = {name: GROUPS[name](plan) for name in arguments.groups or GROUPS}
    print(f"{time.monotonic() - begin:.0f} s in all", file=sys.stderr)
    if arguments.json:
        print(json.dumps({name: sheet.plain() for name, sheet in sheets.items()}, indent=2))
        return
    for sheet in sheets.values():
        sheet.print()
    if not Smcroute.is_installed():
        print("smcroute: not installed")


if __name__ == "__main__":
    main()
