"""What a command costs as a process, beside a Python that does nothing and busctl, which is C."""

import sys
from contextlib import ExitStack

from lab.daemon import BUS_NAME

from bench.ground import FIRST, SOURCE, Ground, Plan, group, run
from bench.sheet import Column, Sheet

_TURNS = 10  # in each run
_ADD = ["--source", SOURCE, "--group", group(FIRST), "--iif", "in", "--oifs", "out", "--replace"]
_PING = ["call", BUS_NAME, "/", "org.freedesktop.DBus.Peer", "Ping"]


def measure(plan: Plan) -> Sheet:
    sheet = Sheet(
        "A command as a process",
        *(Column("wall", "ms"), Column("CPU", "ms"), Column("beside Python", "×")),
    )
    with ExitStack() as stack:
        grounds = [stack.enter_context(Ground(version)) for version in plan.versions]
        for ground in grounds:
            ground.start()
        busctl = ["busctl", f"--address={grounds[0].bus.address}", *_PING]
        for _ in range(plan.runs * _TURNS):
            python = run([sys.executable, "-I", "-c", "pass"])
            costs = {("python -I -c pass", ""): python, ("busctl call", ""): run(busctl)}
            for ground in grounds:
                costs["mfc-dbus-cli mfc add", ground.version.name] = ground.cli("mfc", "add", *_ADD)
            for (what, version), cost in costs.items():
                figures = (cost.wall, cost.command, cost.wall / python.wall)
                sheet.take(what, *figures, version=version)
    return sheet
