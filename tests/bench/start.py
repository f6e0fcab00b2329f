"""How long the daemon takes until it serves, with all routes that it had before in the kernel."""

import socket
import time

from bench.ground import Ground, Plan, document, process_cpu
from bench.others import Smcroute, bare_kernel
from bench.sheet import Column, Sheet
from mfc_dbus.kernel import dump


def measure(plan: Plan) -> Sheet:
    sheet = Sheet(
        f"Start with {plan.routes:,} routes, until it serves",
        *(
            Column("wall", "s"),
            Column("CPU", "s"),
            Column("wall each", "µs"),
            Column("beside kernel", "×"),
        ),
    )
    with Ground() as ground:
        for _ in range(plan.runs):
            with bare_kernel(ground.namespace, plan.routes) as bare:
                seconds = bare.seconds
                sheet.take("setsockopt alone", seconds, seconds, seconds / plan.routes, 1)
        kernel = sheet.median("setsockopt alone", "wall each")

        def take(what: str, begin: float, pid: int, count: int, version: str = "") -> None:
            wall = time.perf_counter() - begin
            figures = (wall, process_cpu(pid), wall / count, wall / count / kernel)
            sheet.take(what, *figures, version=version)

        for _ in range(plan.runs if Smcroute.is_installed() else 0):
            count, begin = plan.smcroute_routes, time.perf_counter()
            with Smcroute.running(ground.namespace, routes=count) as smcroute:
                take(f"smcroute, {count:,}", begin, smcroute.pid, count)
    for version in plan.versions:
        with Ground(version) as ground:
            ground.start()
            ground.cli("apply", ground.file("routes.json", document(plan.routes)))
            ground.daemon.stop()
            for _ in range(plan.runs):
                ground.manager.forget_all()
                for what in ("from the store", "with kept sockets"):
                    begin = time.perf_counter()
                    ground.start()
                    take(what, begin, ground.pid, plan.routes, version.name)
                    with ground.namespace:
                        assert sum(1 for _ in dump.entries(socket.AF_INET)) == plan.routes
                    ground.manager.wait_for("mroute-ipv4", "mroute-ipv6")
                    ground.daemon.kill()
    return sheet
