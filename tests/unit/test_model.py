"""Parsing and validation of what callers write."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.model.addresses import format_address
from mfc_dbus.model.errors import InvalidArgs, LimitExceeded, RequestError, TooManyInterfaces
from mfc_dbus.model.interfaces import parse_interface
from mfc_dbus.model.membership import parse_membership, parse_memberships
from mfc_dbus.model.quoting import quote
from mfc_dbus.model.route import Oif, parse_route

IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)
NAMES = st.lists(
    st.text("abcdefghij0123456789.-_@", min_size=1, max_size=15).filter(
        lambda name: name not in (".", "..")
    ),
    min_size=2,
    max_size=32,
    unique=True,
)


@given(NAMES, st.data())
def test_a_route_holds_what_it_was_made_of(names: list[str], data: st.DataObject) -> None:
    iif, *oifs = names
    ttls = data.draw(st.dictionaries(st.sampled_from(oifs), st.integers(1, 254)))
    route = parse_route("10.0.0.1", "239.1.1.1", iif, oifs, ttls, "ein Kommentar")
    assert route.iif == iif
    assert route.oifs == tuple(Oif(name, ttls.get(name, 1)) for name in oifs)
    assert route.interfaces == tuple(names)
    assert route.comment == "ein Kommentar"
    assert route.key.iif == ""


def test_routes_of_other_thresholds_share_the_oifs_and_names_that_are_the_same() -> None:
    """There may be 31 in each of very many routes."""
    oifs = ["eth1", "eth2"]
    one, other = (
        parse_route("*", "239.1.1.1", "eth0", oifs, {"eth1": 3, "eth2": ttl}) for ttl in (7, 8)
    )
    assert one.oifs != other.oifs
    assert one.oifs[0] is other.oifs[0]
    assert one.interfaces is other.interfaces


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": "fe80::1", "group": "ff05::1"}, "Source 'fe80::1' is link-local"),
        ({"source": "fe80::/64", "group": "ff05::/16"}, "Source 'fe80::/64' is link-local"),
        ({"oifs": ["b", "b"]}, "Oif 'b' is named twice"),
        ({"oifs": ["b", "c", "b"]}, "Oif 'b' is named twice"),
        ({"oifs": ["a"]}, "'a' is both the iif and an oif: with 'hairpin' what arrives"),
        ({"oifs": ["b", "a"]}, "'a' is both the iif and an oif"),
        ({"iif": ""}, "'' is not an interface name"),
        ({"iif": "e/th"}, "'e/th' is not an interface name"),
        ({"iif": "eth 0"}, "not an interface name"),
        ({"iif": "eth0:1"}, "not an interface name"),
        ({"iif": ".."}, "not an interface name"),
        ({"iif": "x" * 16}, "not an interface name"),
        ({"iif": "é" * 8}, "not an interface name"),
        ({"iif": "eth\n"}, r"'eth\\n' is not an interface name"),
        ({"oifs": ["b", "\udcff"]}, "not an interface name"),
        ({"ttls": {"c": 3}}, "'ttls' names 'c', which is not an oif of the route$"),
        (
            {"oifs": ["b", "eth*"], "ttls": {"eth1": 5}},
            r"'eth1', .*: name it beside the pattern, 'eth1', 'eth\*'",
        ),
        ({"ttls": {"b": 0}}, "TTL threshold 0 of 'b' is not from 1 to 254"),
        ({"ttls": {"b": 255}}, "TTL threshold 255"),
        ({"source": "fd00::1", "group": "ff05::1", "ttls": {"b": 1}}, "IPv6 has no TTL"),
        ({"source": "fd00::1", "group": "ff05::1", "iif": "lo"}, "IPv6 .* from or to 'lo'"),
        ({"source": "fd00::1", "group": "ff05::1", "oifs": ["b", "lo"]}, "from or to 'lo'"),
        ({"comment": "x" * 201}, "201 characters"),
        ({"comment": "bell\a"}, "control characters"),
    ],
)
def test_a_route_that_makes_no_sense_is_refused_with_the_reason(
    change: dict[str, object], sentence: str
) -> None:
    good: dict[str, object] = {
        "source": "10.0.0.1",
        "group": "239.1.1.1",
        "iif": "a",
        "oifs": ["b"],
    }
    with pytest.raises(InvalidArgs, match=sentence):
        parse_route(**(good | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [32, 100_000])
def test_a_route_with_more_than_31_oifs_is_too_many_interfaces(count: int) -> None:
    with pytest.raises(TooManyInterfaces, match=f"this one has {count}"):
        parse_route("10.0.0.1", "239.1.1.1", "in", [f"o{n}" for n in range(count)])


@given(st.text(), st.text(), st.text(), st.lists(st.text()), st.text())
def test_no_text_at_all_does_more_than_be_refused(
    source: str, group: str, iif: str, oifs: list[str], comment: str
) -> None:
    with pytest.raises(RequestError) as refused:
        parse_route(source, group, iif, oifs, {}, comment)
    assert str(refused.value).isprintable()


@given(st.text())
def test_an_interface_name_that_is_taken_is_one_that_linux_takes(name: str) -> None:
    try:
        parse_interface(name)
    except InvalidArgs:
        return
    encoded = name.encode()
    assert 0 < len(encoded) < 16
    assert not set(encoded) & set(b"/: \t\n\v\f\r\0")
    assert encoded not in (b".", b"..")


@given(st.text())
def test_what_is_quoted_is_short_and_printable(text: str) -> None:
    quoted = quote(text)
    assert quoted.isprintable()
    assert len(quoted) < 500


# Memberships


@given(IPV4 | IPV6)
def test_every_group_can_be_joined_that_is_on_a_network(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if address.is_multicast and (address.version == 4 or int(address) >> 112 & 0xF > 1):
        assert parse_membership(str(address), "*", "eth0").group == address.packed
    else:
        with pytest.raises(InvalidArgs, match=r"is on no network|not a multicast address"):
            parse_membership(str(address), "*", "eth0")


def test_a_membership_is_what_was_written() -> None:
    membership = parse_membership("ff32::8000:1", "fe80::1", "eth0", "a comment")
    assert format_address(membership.group) == "ff32::8000:1"
    assert format_address(membership.source) == "fe80::1"
    assert (membership.interface, membership.comment) == ("eth0", "a comment")
    assert membership.persistent
    assert str(membership) == "(fe80::1, ff32::8000:1) on 'eth0'"


@pytest.mark.parametrize("source", ["", "*", "0.0.0.0"])
def test_a_membership_of_any_source_has_one_key(source: str) -> None:
    key = parse_membership("239.1.1.1", source, "eth0").key
    assert key == parse_membership("239.1.1.1", "*", "eth0", "a comment").key
    assert not any(key.source)


@pytest.mark.parametrize(
    ("group", "source", "interface", "comment", "sentence"),
    [
        ("10.0.0.1", "*", "eth0", "", r"'10.0.0.1' is not a multicast address \(224.0.0.0/4\)"),
        ("fd00::1", "*", "eth0", "", r"'fd00::1' is not a multicast address \(ff00::/8\)"),
        ("ff01::1", "*", "eth0", "", "Group 'ff01::1' has interface-local scope"),
        ("239.1.1.1", "239.1.1.2", "eth0", "", "Source '239.1.1.2' is a multicast address"),
        ("239.1.1.1", "255.255.255.255", "eth0", "", "broadcast address"),
        ("239.1.1.1", "127.0.0.1", "eth0", "", "loopback"),
        ("ff05::1", "ff05::2", "eth0", "", "Source 'ff05::2' is a multicast address"),
        ("ff05::1", "10.0.0.1", "eth0", "", "mix IPv4 and IPv6"),
        ("239.1.1.1", "eth1", "eth0", "", "Source 'eth1' is not an IPv4 or IPv6 address"),
        ("239.1.1.0/24", "*", "eth0", "", r"\(\*, 239.1.1.0/24\) is of a prefix"),
        ("239.1.1.1", "10.0.0.0/8", "eth0", "", "of a prefix, and here one address is due"),
        ("239.1.1.1/24", "*", "eth0", "", "it would be '239.1.1.0/24'"),
        ("239.1.1.1", "255.255.255.0/24", "eth0", "", "has 255.255.255.255 in it, which is the"),
        ("ff05::1", "::/120", "eth0", "", "has ::1 in it, which is the loopback address"),
        ("239.1.1.1", "*", "eth 0", "", "'eth 0' is not an interface name"),
        ("239.1.1.1", "*", "eth*", "", r"'eth\*' is a pattern, and here one interface is due"),
        ("ff05::1", "*", "eth[01]", "", "is a pattern, and here one interface is due"),
        ("239.1.1.1", "*", "eth0", "a\nb", "control characters"),
        ("239.1.1.1", "*", "eth0", "a" * 201, "201 characters"),
    ],
)
def test_a_membership_that_makes_no_sense_is_refused(
    group: str, source: str, interface: str, comment: str, sentence: str
) -> None:
    with pytest.raises(InvalidArgs, match=sentence):
        parse_membership(group, source, interface, comment)


@pytest.mark.parametrize(
    ("group", "source", "size"),
    [
        ("239.1.1.1", "*", 1),
        ("239.1.1.0/24", "*", 256),
        ("232.1.1.0/30", "10.0.0.0/29", 32),
        ("ff3e::/120", "fd00::1", 256),
        ("ff3e::1/128", "fd00::/126", 4),
    ],
)
def test_a_range_is_all_of_its_memberships_and_covers_no_other(
    group: str, source: str, size: int
) -> None:
    range_ = parse_memberships(group, source, "eth0")
    made = range_.memberships("comment", persistent=False)
    assert len({each.key for each in made}) == len(made) == size
    assert {(each.interface, each.comment, each.persistent) for each in made} == {
        ("eth0", "comment", False)
    }
    assert all(range_.covers(each.key) for each in made)
    assert (range_.single is None) == (size > 1)
    assert size > 1 or range_.single == made[0].key
    assert {format_address(each.group) for each in made} == {*map(str, ipaddress.ip_network(group))}
    if source != "*":
        senders = {format_address(each.source) for each in made}
        assert senders == {*map(str, ipaddress.ip_network(source))}
    first = format_address(made[0].group)
    other = "10.9.9.9" if ":" not in group else "fd09::9"
    outside = "239.9.9.9" if ":" not in group else "ff05::9"
    some = source.partition("/")[0]
    for group_, source_, interface in (
        (first, other, "eth0"),
        (outside, some, "eth0"),
        (first, some, "eth1"),
    ):
        assert not range_.covers(parse_membership(group_, source_, interface).key)


def test_a_range_is_bounded() -> None:
    assert len(parse_memberships("239.1.0.0/22", "*", "eth0").memberships()) == 1024
    too_many = [("239.1.0.0/21", "*"), ("ff3e::/16", "*"), ("232.1.0.0/22", "10.0.0.0/31")]
    for group, source in too_many:
        with pytest.raises(LimitExceeded, match="at most 1024 are joined at once"):
            parse_memberships(group, source, "eth0").memberships()
