"""What many routes cost at once, by the command: new ones, the same again, and all changed."""

from bench.ground import Cost, Ground, Plan, document
from bench.others import Smcroute, bare_kernel
from bench.sheet import Column, Sheet


def measure(plan: Plan) -> Sheet:
    sheet = Sheet(
        f"mfc-dbus-cli apply, {plan.routes:,} routes",
        *(Column("wall", "s"), Column("daemon CPU", "s"), Column("client CPU", "s")),
        *(Column("wall each", "µs"), Column("beside kernel", "×")),
    )
    with Ground() as ground:
        for _ in range(plan.runs):
            with bare_kernel(ground.namespace, plan.routes) as bare:
                seconds = bare.seconds
                sheet.take("setsockopt alone", seconds, None, None, seconds / plan.routes, 1)
        kernel = sheet.median("setsockopt alone", "wall each")

        def take(what: str, cost: Cost, count: int, version: str = "") -> None:
            each = cost.wall / count
            sheet.take(what, *cost, each, each / kernel, version=version)

        for _ in range(plan.runs if Smcroute.is_installed() else 0):
            with Smcroute.running(ground.namespace) as smcroute:
                count = plan.smcroute_routes
                for what in ("all new", "the same"):
                    take(f"smcroute, {count:,}, {what}", smcroute.add(count), count)
    for _ in range(plan.runs):
        for version in plan.versions:
            with Ground(version) as ground:
                ground.start()
                new = ground.file("new.json", document(plan.routes))
                changed = ground.file("changed.json", document(plan.routes, "other"))
                for what, file in (("all new", new), ("the same", new), ("all changed", changed)):
                    take(what, ground.cli("apply", file), plan.routes, version.name)
                take("flush", ground.cli("mfc", "flush"), plan.routes, version.name)
    return sheet
