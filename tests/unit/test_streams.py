"""What was learned, as it is listed: in slices, and as it was when that began."""

from typing import cast

from lab.ground import Ground, run
from lab.parts import in_small_parts

from mfc_dbus.bus.backend import Variant
from mfc_dbus.model.addresses import Prefix, parse_group_prefix
from mfc_dbus.service.listed_streams import list_streams


async def listed(
    ground: Ground, group: Prefix | None = None
) -> tuple[list[dict[str, Variant]], int]:
    streams, total = await list_streams(ground.controller, group, None, None)
    assert isinstance(total, int)
    return cast("list[dict[str, Variant]]", streams), total


def test_streams_that_go_while_they_are_listed_are_in_the_answer_and_its_number() -> None:
    ground = Ground()
    ground.add("*", "239.1.0.0/16", "eth0", "eth1")
    for number in range(9):
        ground.arrive("10.0.0.1", f"239.1.{number % 2}.{number}")
    served = 0

    def flush() -> None:
        nonlocal served
        served += 1
        if served == 5:
            ground.links.remove("eth0")
            ground.controller.follow()

    group = parse_group_prefix("239.1.1.0/24")
    with in_small_parts(flush):
        streams, total = run(listed(ground, group))
    assert served >= 9
    assert total == 4
    assert [stream["group"].value for stream in streams] == [f"239.1.1.{n}" for n in (1, 3, 5, 7)]
    assert ["packets" in stream for stream in streams] == [True, True, False, False]
    assert run(listed(ground)) == ([], 0)
