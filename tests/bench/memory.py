"""What memory the daemon takes, with no route and with many, and whether it grows."""

import asyncio

from bench.ground import Ground, Plan, document, resident
from bench.others import Smcroute
from bench.sheet import Column, Sheet


def measure(plan: Plan) -> Sheet:
    sheet = Sheet(
        f"Memory of the daemon, {plan.routes:,} routes",
        *(Column("resident", "MiB"), Column("a route", "B")),
    )
    for version in plan.versions:
        with Ground(version) as ground:
            ground.start()
            asyncio.run(ground.rest())
            none = resident(ground.pid)
            sheet.take("no route", none, None, version=version.name)
            files = [
                ground.file(f"{oif}.json", document(plan.routes, oif)) for oif in ("out", "other")
            ]
            for turn, what in enumerate(("first", "second", "third")):
                ground.cli("apply", files[turn % 2])
                asyncio.run(ground.rest())
                memory = resident(ground.pid)
                figures = (memory, (memory - none) / plan.routes)
                sheet.take(f"after the {what} apply", *figures, version=version.name)
    if Smcroute.is_installed():
        count = plan.smcroute_routes
        with Ground() as ground, Smcroute.running(ground.namespace) as smcroute:
            none = resident(smcroute.pid)
            sheet.take("smcroute, no route", none, None)
            smcroute.add(count)
            memory = resident(smcroute.pid)
            sheet.take(f"smcroute, {count:,} routes", memory, (memory - none) / count)
    return sheet
