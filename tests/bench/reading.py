"""What it costs to read all routes, beside the kernel's own list of them and smcroute's."""

import socket
import time

from bench.ground import SOURCE, Ground, Plan, document, groups, run
from bench.others import Smcroute, bare_kernel
from bench.sheet import Column, Sheet


def measure(plan: Plan) -> Sheet:
    sheet = Sheet(
        f"Reading {plan.routes:,} routes",
        *(Column("wall", "s"), Column("daemon CPU", "s"), Column("client CPU", "s")),
        Column("wall each", "µs"),
    )
    with Ground() as ground:
        if Smcroute.is_installed():
            count = plan.smcroute_routes
            with Smcroute.running(ground.namespace) as smcroute:
                smcroute.add(count)
                for _ in range(plan.runs):
                    cost = smcroute.control("show", "routes")
                    sheet.take(f"smcroutectl show routes, {count:,}", *cost, cost.wall / count)
        with bare_kernel(ground.namespace, plan.routes) as bare, ground.namespace:
            source = socket.inet_aton(SOURCE)
            for _ in range(plan.runs):
                cost = run(["ip", "mroute"])
                sheet.take("ip mroute", *cost, cost.wall / plan.routes)
                begin = time.perf_counter()
                for group in groups(plan.routes):
                    bare.mroute.sg_count(source, socket.inet_aton(group))
                wall = time.perf_counter() - begin
                sheet.take("SIOCGETSGCNT of each", wall, None, None, wall / plan.routes)
    for version in plan.versions:
        with Ground(version) as ground:
            ground.start()
            ground.cli("apply", ground.file("routes.json", document(plan.routes)))
            for _ in range(plan.runs):
                for words in (("show", "--json"), ("export",)):
                    cost = ground.cli(*words)
                    figures = (*cost, cost.wall / plan.routes)
                    sheet.take(f"mfc-dbus-cli {' '.join(words)}", *figures, version=version.name)
    return sheet
