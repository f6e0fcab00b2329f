"""What a call costs the daemon, from one caller and from many at once, beside a Ping."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

from lab.caller import Caller, Route

from bench.ground import FIRST, SOURCE, Ground, Plan, Version, group, process_cpu
from bench.others import bare_kernel
from bench.sheet import Column, Sheet

_ROUTES = 2_000  # each is on disk before the answer
_PINGS = 8_000


def measure(plan: Plan) -> Sheet:
    sheet = Sheet(
        "CPU of the daemon for a call",
        *(Column("CPU each", "µs"), Column("beside Ping", "×"), Column("beside kernel", "×")),
    )
    with Ground() as ground, bare_kernel(ground.namespace, plan.routes) as bare:
        kernel = bare.seconds / plan.routes
    sheet.take("setsockopt alone", kernel, None, 1)
    versions = list(plan.versions)
    if len(versions) == 1:
        versions.append(Version("dbus-next", library="dbus_next"))
    for _ in range(plan.runs):
        for version in versions:
            for callers, who in ((1, "1 caller"), (16, "16 callers")):
                ping, add = asyncio.run(_measure_callers(version, callers, plan.routes))
                sheet.take(f"Ping, {who}", ping, 1, ping / kernel, version=version.name)
                # The CPU's clock ticks 100 times a second: few calls may take none.
                beside = add / ping if ping else None
                figures = (add, beside, add / kernel)
                sheet.take(f"AddRoute, {who}", *figures, version=version.name)
    return sheet


async def _measure_callers(version: Version, count: int, routes: int) -> tuple[float, float]:
    """Give the CPU of a Ping and of an AddRoute in seconds, from so many callers at once."""
    async with AsyncExitStack() as stack:
        ground = stack.enter_context(Ground(version))
        ground.start()
        callers = [
            await stack.enter_async_context(Caller.at(ground.bus.address)) for _ in range(count)
        ]

        async def each(calls: int, call: Callable[[Caller, int], Awaitable[None]]) -> float:
            """Let each caller make one call after the other, until all are made."""

            async def work(caller: Caller, numbers: Iterator[int]) -> None:
                for number in numbers:
                    await call(caller, number)

            numbers = iter(range(calls))
            before = process_cpu(ground.pid)
            await asyncio.gather(*(work(caller, numbers) for caller in callers))
            return (process_cpu(ground.pid) - before) / calls

        ping = await each(min(_PINGS, 4 * routes), lambda caller, _: caller.ping())
        add = await each(
            min(_ROUTES, routes),
            lambda caller, number: caller.add(Route(SOURCE, group(FIRST + number), "in", ["out"])),
        )
        return ping, add
