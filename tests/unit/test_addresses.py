"""Addresses and prefixes: what callers write, what is refused, and what covers what."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.model.addresses import (
    Prefix,
    format_source,
    forwardable,
    host_prefix,
    parse_group_prefix,
    parse_stream,
)
from mfc_dbus.model.errors import InvalidArgs

IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NO_SENDERS = [
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"),
        *("::1/128", "ff00::/8", "::ffff:0:0/96"),
    )
]


def is_forwarded(group: Address) -> bool:
    """The rule for groups, written once more and otherwise."""
    if isinstance(group, ipaddress.IPv4Address):
        return group.is_multicast and group not in ipaddress.ip_network("224.0.0.0/24")
    return group.is_multicast and int(group) >> 112 & 0xF > 2


@given(IPV4 | IPV6)
def test_a_group_is_taken_just_when_the_kernel_forwards_it(
    address: Address,
) -> None:
    if is_forwarded(address):
        assert parse_stream("", str(address))[1] == host_prefix(address.packed)
    else:
        with pytest.raises(InvalidArgs, match=r"never forwarded|not a multicast address"):
            parse_stream("", str(address))


@given(st.ip_addresses(network="239.0.0.0/8"), IPV4)
def test_ipv4_streams_survive_the_way_in_and_out(
    group: ipaddress.IPv4Address, source: ipaddress.IPv4Address
) -> None:
    try:
        parsed = parse_stream(str(source), str(group))
    except InvalidArgs:
        assert source.is_multicast or int(source) >> 24 in (0, 127, 255)
    else:
        host = host_prefix(source.packed)
        assert parsed[0] == (host if any(source.packed) else Prefix(bytes(4), 0))
        assert str(parsed[1]) == str(group)


@given(st.ip_addresses(network="ff0e::/16"), IPV6)
def test_ipv6_streams_survive_the_way_in_and_out(
    group: ipaddress.IPv6Address, source: ipaddress.IPv6Address
) -> None:
    try:
        parsed = parse_stream(str(source), str(group))
    except InvalidArgs:
        assert source.is_multicast or source.is_loopback or source.ipv4_mapped is not None
    else:
        host = host_prefix(source.packed)
        assert parsed[0] == (host if any(source.packed) else Prefix(bytes(16), 0))
        assert ipaddress.ip_address(str(parsed[1])) == group


@pytest.mark.parametrize(
    ("source", "group", "packed"),
    [
        ("", "239.1.1.1", bytes(4)),
        ("*", "239.1.1.1", bytes(4)),
        ("0.0.0.0", "239.1.1.1", bytes(4)),
        ("0.0.0.0/0", "239.1.1.1", bytes(4)),
        ("", "ff05::1", bytes(16)),
        ("*", "ff05::1", bytes(16)),
        ("::", "ff05::1", bytes(16)),
        ("::/0", "ff05::1", bytes(16)),
    ],
)
def test_any_source_has_several_names_on_the_way_in_and_one_on_the_way_out(
    source: str, group: str, packed: bytes
) -> None:
    parsed, _ = parse_stream(source, group)
    assert parsed == Prefix(packed, 0)
    assert format_source(parsed) == "*"


@pytest.mark.parametrize(
    ("source", "group", "sentence"),
    [
        ("10.0.0.1", "10.0.0.2", "Group '10.0.0.2' is not a multicast address"),
        ("10.0.0.1", "224.0.0.251", "Group '224.0.0.251' is link-local"),
        ("10.0.0.1", "224.0.0.251 ", "Group '224.0.0.251 ' is not an IPv4 or IPv6 address"),
        ("10.0.0.1", "", "Group '' is not"),
        ("10.0.0.1", "*", "Group '\\*' is not"),
        ("fd00::1", "ff01::1", "interface-local"),
        ("fd00::1", "ff32::8000:1", "link-local"),
        ("fd00::1", "ff00::1", "reserved"),
        ("fd00::1", "ff05::1%eth0", "'ff05::1%eth0' is not an IPv4 or IPv6 address"),
        ("10.0.0.1", "ff05::1", "mix IPv4 and IPv6"),
        ("::", "239.1.1.1", "mix IPv4 and IPv6"),
        ("::1", "ff05::1", "loopback"),
        ("::ffff:10.0.0.1", "ff05::1", "IPv4-mapped"),
        ("ff05::2", "ff05::1", "multicast"),
        ("127.0.0.1", "239.1.1.1", "loopback"),
        ("0.1.2.3", "239.1.1.1", "0.0.0.0/8"),
        ("255.255.255.255", "239.1.1.1", "broadcast"),
        ("239.1.1.2", "239.1.1.1", "multicast"),
        ("10.0.0.01", "239.1.1.1", "Source '10.0.0.01' is not"),
        ("10.0.0", "239.1.1.1", "not an IPv4 or IPv6 address"),
        ("10.0.0.256", "239.1.1.1", "not an IPv4 or IPv6 address"),
        ("0x0a000001", "239.1.1.1", "not an IPv4 or IPv6 address"),
        ("10.0.0.1\0", "239.1.1.1", r"'10.0.0.1\\x00' is not"),
        ("\ud800", "239.1.1.1", r"'\\ud800' is not"),
    ],
)
def test_a_stream_that_cannot_be_forwarded_is_refused_with_the_reason(
    source: str, group: str, sentence: str
) -> None:
    with pytest.raises(InvalidArgs, match=sentence):
        parse_stream(source, group)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("239.1.0.0/16", "239.1.255.1", "239.2.0.1"),
        ("239.1.2.3", "239.1.2.3", "239.1.2.4"),
        ("224.0.0.0/4", "239.1.2.3", "ff05::1"),
        ("ff00::/8", "ff05::1", "239.1.2.3"),
        ("ff05::/16", "ff05:1::1", "ff06::1"),
        ("ff05::/16", "ff05:1::1", "239.1.2.3"),
    ],
)
def test_a_group_prefix_covers_what_shares_its_first_bits(
    text: str, inside: str, outside: str
) -> None:
    prefix = parse_group_prefix(text)
    assert parse_stream("", inside)[1].address in prefix
    assert parse_stream("", outside)[1].address not in prefix


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "239.1.0.0/",
        "239.1.0.0/33",
        "239.1.0.0/-1",
        "239.1.0.0/²",
        "239.1.0.0/9999",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "fe00::/7",
        "10.1.2.3",
    ],
)
def test_a_group_prefix_of_the_wrong_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgs):
        parse_group_prefix(text)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    address = draw(IPV4 | IPV6)
    return ipaddress.ip_network(
        (address, draw(st.integers(0, address.max_prefixlen))), strict=False
    )


def prefix_of(network: Network) -> Prefix:
    return Prefix(network.network_address.packed, network.prefixlen)


@given(networks(), networks(), st.none() | st.integers(0, 128))
def test_prefixes_cover_and_overlap_as_networks_do(
    one: Network, other: Network, wider: int | None
) -> None:
    if wider is not None:
        other = one.supernet(new_prefix=min(wider, one.prefixlen))
    same = one.version == other.version
    assert prefix_of(one).covers(prefix_of(other)) == (same and other.subnet_of(one))  # type: ignore[arg-type]
    assert prefix_of(one).overlaps(prefix_of(other)) == (same and one.overlaps(other))
    address = other[-1]
    assert (address.packed in prefix_of(one)) == (address in one)


@given(networks().filter(lambda network: int(network[0]) or not network.prefixlen))
def test_a_source_prefix_survives_the_way_in_and_out(network: Network) -> None:
    group = "239.1.1.1" if network.version == 4 else "ff05::1"
    try:
        source, _ = parse_stream(str(network), group)
    except InvalidArgs:
        assert any(
            network.version == each.version and network.subnet_of(each)  # type: ignore[arg-type]
            for each in NO_SENDERS
        )
    else:
        assert source == prefix_of(network)
        written = "*" if not network.prefixlen else str(network)
        assert format_source(source) in (written, written.removesuffix(f"/{network.max_prefixlen}"))


@pytest.mark.parametrize(
    ("source", "group", "sentence"),
    [
        (
            "*",
            "239.1.2.3/16",
            "'239.1.2.3/16' has bits after its prefix; it would be '239.1.0.0/16'",
        ),
        ("*", "ff3e::1/32", "it would be 'ff3e::/32'"),
        ("10.0.1.1/24", "239.1.1.1", "Source '10.0.1.1/24' has bits .* would be '10.0.1.0/24'"),
        ("0.0.0.1/0", "239.1.1.1", "it would be '0.0.0.0/0'"),
        ("*", "224.0.0.0/3", "not a multicast address"),
        ("*", "224.0.0.0/24", "link-local"),
        ("*", "224.0.0.128/25", "link-local"),
        ("*", "ff02::/16", "link-local"),
        ("*", "ff00::/15", "interface-local"),
        ("*", "fe00::/7", "not a multicast address"),
        ("10.0.0.0/33", "239.1.1.1", "from 0 to 32"),
        ("10.0.0.0/", "239.1.1.1", "from 0 to 32"),
        ("10.0.0.0/+8", "239.1.1.1", "from 0 to 32"),
        ("*/8", "239.1.1.1", "not an IPv4 or IPv6 address"),
        ("fd00::/64", "239.1.1.1", "mix IPv4 and IPv6"),
        ("127.1.0.0/16", "239.1.1.1", "loopback"),
    ],
)
def test_a_prefix_that_makes_no_sense_is_refused_with_the_reason(
    source: str, group: str, sentence: str
) -> None:
    with pytest.raises(InvalidArgs, match=sentence):
        parse_stream(source, group)


@pytest.mark.parametrize(
    ("source", "group", "source_out", "group_out"),
    [
        ("10.0.1.0/24", "239.10.0.0/16", "10.0.1.0/24", "239.10.0.0/16"),
        ("10.0.1.10/32", "239.1.1.1/32", "10.0.1.10", "239.1.1.1"),
        ("", "224.0.0.0/4", "*", "224.0.0.0/4"),
        ("FD00:0::/64", "ff3e:0:0::/32", "fd00::/64", "ff3e::/32"),
        ("*", "ff00::/8", "*", "ff00::/8"),
        ("*", "ff02::/15", "*", "ff02::/15"),
        ("0.0.0.0/1", "239.1.1.1", "0.0.0.0/1", "239.1.1.1"),
    ],
)
def test_prefixes_are_written_in_one_way(
    source: str, group: str, source_out: str, group_out: str
) -> None:
    sources, groups = parse_stream(source, group)
    assert (format_source(sources), str(groups)) == (source_out, group_out)


@pytest.mark.parametrize(
    ("source", "group", "expected"),
    [
        ("10.0.0.1", "239.1.1.1", True),
        ("10.0.0.1", "224.0.1.1", True),
        ("10.0.0.1", "224.0.0.5", False),
        ("0.1.2.3", "239.1.1.1", True),
        ("fd00::1", "ff05::1", True),
        ("fe80::1", "ff05::1", True),
        ("::ffff:10.0.0.1", "ff05::1", True),
        ("::", "ff05::1", False),
        ("fd00::1", "ff12::1", False),
    ],
)
def test_of_what_a_wide_prefix_covers_not_all_is_forwarded(
    source: str, group: str, expected: bool
) -> None:
    packed = (ipaddress.ip_address(each).packed for each in (source, group))
    assert forwardable(*packed) == expected
