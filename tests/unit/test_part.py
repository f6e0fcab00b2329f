"""Parts of what is asked for are all of it, and each entry is in one of them."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.client.part import ALL, Part
from mfc_dbus.names import ANY_SOURCE

GROUPS = ("239.1.1.1/32", "239.1.0.0/16", "224.0.0.0/4", "ff3e::1/128", "ff00::/8")
SOURCES = ("10.1.2.3/32", "10.0.0.0/8", "0.0.0.0/1", ANY_SOURCE)
SOURCES6 = ("fd00::1/128", "8000::/1", ANY_SOURCE)


def has(part: Part, group: str, source: str) -> bool:
    """As Describe understands it."""
    return (
        (part.group is None or _has(part.group, group, exact=part.exact))
        and (part.source != ANY_SOURCE or source == ANY_SOURCE)
        and (part.source in (None, ANY_SOURCE) or _has(part.source, source, part.exact_source))
    )


def _has(prefix: str, other: str, exact: bool) -> bool:
    if other == ANY_SOURCE:
        return False
    outer, inner = ip_network(prefix), ip_network(other)
    if exact or outer.version != inner.version:
        return outer == inner
    return inner.subnet_of(outer)  # type: ignore[arg-type]


@given(st.data())
def test_each_entry_is_in_one_part_down_to_the_smallest(data: st.DataObject) -> None:
    group = data.draw(st.sampled_from(GROUPS))
    source = data.draw(st.sampled_from(SOURCES6 if ":" in group else SOURCES))
    part = ALL
    for _ in range(2 * 128 + 10):
        halves = part.halves()
        if not halves:
            break
        rest = part.rest()
        parts = [each for each in (*halves, rest) if each is not None]
        (part,) = (each for each in parts if has(each, group, source))
    else:
        pytest.fail("it never ends")
    assert ip_network(part.group or "") == ip_network(group)
    assert part.source in (ANY_SOURCE, source)
