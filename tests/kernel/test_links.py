"""Interfaces by their names, in a namespace that has none but those that a test adds."""

import errno
from collections.abc import Iterator

import pytest
from lab.netns import Namespace

from mfc_dbus.kernel.links import Link, Links

FIFTEEN = "x" * 15


@pytest.fixture
def links(namespace: Namespace) -> Iterator[Links]:
    namespace.ip(f"link add name {FIFTEEN} index 70 type veth peer name eth1 index 71")
    with namespace:
        links = Links()
    with links:
        yield links


def assert_missing(links: Links, name: str) -> None:
    with pytest.raises(OSError, check=lambda error: error.errno == errno.ENODEV):
        links.lookup(name)


@pytest.mark.parametrize(
    "name", ["eth99", "", "eth", "eth11", "x" * 16, "x" * 10_000, "é" * 15, "\ud800"]
)
def test_a_name_that_no_interface_has_is_missing(links: Links, name: str) -> None:
    assert_missing(links, name)


def test_a_prefix_or_a_long_form_of_a_name_is_missing(links: Links) -> None:
    assert_missing(links, FIFTEEN[:14])
    assert_missing(links, FIFTEEN + "x")
    assert_missing(links, "eth1\0")
    assert_missing(links, "eth1:0")


@pytest.mark.parametrize("altname", ["other", "an-alternative-name-of-more-than-15-characters"])
def test_an_alternative_name_is_missing(links: Links, namespace: Namespace, altname: str) -> None:
    namespace.ip(f"link property add dev eth1 altname {altname}")
    assert_missing(links, altname)


def test_an_interface_that_was_deleted_is_missing(links: Links, namespace: Namespace) -> None:
    links.lookup("eth1")
    namespace.ip("link delete dev eth1")
    assert_missing(links, "eth1")


def test_an_interface_of_another_namespace_is_missing(links: Links) -> None:
    namespace = Namespace()
    try:
        namespace.ip("link add name elsewhere type veth peer name away")
        assert_missing(links, "elsewhere")
    finally:
        namespace.close()


def test_a_name_gives_the_ifindex(links: Links) -> None:
    assert links.lookup("eth1") == Link("eth1", 71, multicast=True)
    assert links.lookup(FIFTEEN) == Link(FIFTEEN, 70, multicast=True)


def test_a_new_name_is_found_and_the_old_one_missing(links: Links, namespace: Namespace) -> None:
    namespace.ip("link set dev eth1 name lan0")
    assert_missing(links, "eth1")
    assert links.lookup("lan0").ifindex == 71


def test_multicast_says_whether_the_interface_carries_it(
    links: Links, namespace: Namespace
) -> None:
    assert not links.lookup("lo").multicast
    namespace.ip("link set dev eth1 multicast off")
    assert not links.lookup("eth1").multicast
    namespace.ip("link set dev eth1 multicast on")
    assert links.lookup("eth1").multicast


def test_up_or_down_makes_no_difference(links: Links, namespace: Namespace) -> None:
    namespace.ip("link set dev eth1 up")
    assert links.lookup("eth1") == Link("eth1", 71, multicast=True)
