"""Interfaces that come and go, in a namespace that has none but those that a test adds."""

import itertools
import socket
from collections.abc import Iterator, Sequence

import pytest
from lab.netns import Namespace

from mfc_dbus.kernel import links
from mfc_dbus.kernel.links import Came, Event, Gone, Link, Links, Missed, Turned

FIFTEEN = "x" * 15
LONG = Link(FIFTEEN, 70, multicast=True)
ETH1 = Link("eth1", 71, multicast=True)
LO = Link("lo", 1, multicast=False, up=True, enabled=True)


class Watched:
    """The links of a namespace, and what their events come to."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.present: dict[str, Link] = {}
        with namespace:
            self.links = Links()

    def update(self) -> list[Event]:
        """Take in the events, each of which must be possible where it stands."""
        with self._namespace:
            events = self.links.update()
        for event in events:
            if isinstance(event, Came | Turned):
                assert event.link.name not in self.present or self._same_device(event)
                self.present[event.link.name] = event.link
            elif isinstance(event, Gone):
                assert self.present.pop(event.link.name) == event.link
        return events

    def lose_events(self) -> None:
        """Have a buffer that holds next to nothing."""
        sock = socket.socket(fileno=self.links.fileno())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.detach()

    def _same_device(self, event: Came | Turned) -> bool:
        return self.present[event.link.name].ifindex == event.link.ifindex


def about(name: str, events: Sequence[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Missed) and event.link.name == name]


@pytest.fixture
def watched(namespace: Namespace) -> Iterator[Watched]:
    namespace.ip(f"link add name {FIFTEEN} index 70 type veth peer name eth1 index 71")
    watched = Watched(namespace)
    with watched.links:
        watched.update()
        yield watched


# What there is


def test_the_first_look_tells_of_all_that_there_are_by_name_and_ifindex(
    namespace: Namespace,
) -> None:
    namespace.ip(f"link add name {FIFTEEN} index 70 type veth peer name eth1 index 71")
    watched = Watched(namespace)
    with watched.links:
        assert set(watched.update()) == {Came(LO), Came(LONG), Came(ETH1)}
        assert watched.update() == []


def test_what_happens_before_the_first_look_is_told_once(namespace: Namespace) -> None:
    watched = Watched(namespace)
    namespace.ip("link add name eth1 index 71 type veth peer name eth2 index 72")
    namespace.ip("link set dev eth2 name eth3")
    with watched.links:
        assert set(watched.update()) == {Came(LO), Came(ETH1), Came(Link("eth3", 72, True))}
        assert watched.update() == []


@pytest.mark.parametrize("altname", ["other", "an-alternative-name-of-more-than-15-characters"])
def test_an_alternative_name_is_no_name(
    watched: Watched, namespace: Namespace, altname: str
) -> None:
    namespace.ip(f"link property add dev eth1 altname {altname}")
    assert watched.update() == []  # the kernel tells it of an interface that is up
    again = Watched(namespace)
    with again.links:
        again.update()
        assert again.present.keys() == {"lo", "eth1", FIFTEEN}
        assert list(again.present["eth1"].altnames) == [altname]
        namespace.ip("link set dev eth1 up", "link property add dev eth1 altname more")
        again.update()
        assert list(again.present["eth1"].altnames) == [altname, "more"]


def test_an_interface_of_another_namespace_is_missing(watched: Watched) -> None:
    namespace = Namespace()
    try:
        namespace.ip("link add name elsewhere type veth peer name away")
        assert watched.update() == []
    finally:
        namespace.close()


def test_multicast_says_whether_the_interface_carries_it(
    watched: Watched, namespace: Namespace
) -> None:
    assert not watched.present["lo"].multicast
    namespace.ip("link set dev eth1 multicast off")
    assert watched.update() == [Came(ETH1._replace(multicast=False))]
    namespace.ip("link set dev eth1 multicast on")
    assert watched.update() == [Came(ETH1)]


def test_an_interface_is_up_when_its_link_is(watched: Watched, namespace: Namespace) -> None:
    namespace.ip("link set dev eth1 up")
    assert watched.update() == [Turned(ETH1._replace(enabled=True))]
    namespace.ip(f"link set dev {FIFTEEN} up")
    namespace.wait_until_up(["eth1", FIFTEEN])
    up = {Turned(link._replace(up=True, enabled=True)) for link in (ETH1, LONG)}
    assert set(watched.update()) == up
    namespace.ip(f"link set dev {FIFTEEN} down")
    namespace.ip("link show dev eth1")
    assert Turned(LONG) in watched.update()
    assert watched.present["eth1"] == ETH1._replace(enabled=True)


# What happens


@pytest.mark.parametrize(
    "settings",
    [
        ["up", "down", "up", "down"],
        ["mtu 1400", "promisc on"],
        ["master br0"],
        ["master br0 up", "nomaster", "down"],
    ],
    ids=["up and down", "settings", "into a bridge", "out of a bridge"],
)
def test_what_makes_no_difference_is_no_event(
    watched: Watched, namespace: Namespace, settings: Sequence[str]
) -> None:
    namespace.ip("link add name br0 type bridge")
    watched.update()
    namespace.ip(*(f"link set dev eth1 {setting}" for setting in settings))
    assert about("eth1", watched.update()) == []
    assert watched.present["eth1"] == ETH1


def test_an_interface_that_is_deleted_has_gone_and_its_peer_with_it(
    watched: Watched, namespace: Namespace
) -> None:
    namespace.ip("link delete dev eth1")
    assert set(watched.update()) == {Gone(ETH1), Gone(LONG)}
    assert watched.update() == []


def test_an_interface_that_was_made_again_meanwhile_has_gone_and_come(
    watched: Watched, namespace: Namespace
) -> None:
    namespace.ip(
        "link delete dev eth1",
        f"link add name {FIFTEEN} index 90 type veth peer name eth1 index 91",
    )
    events = about("eth1", watched.update())
    assert events == [Gone(ETH1), Came(ETH1._replace(ifindex=91))]


def test_the_same_ifindex_may_come_again(watched: Watched, namespace: Namespace) -> None:
    namespace.ip(
        "link delete dev eth1",
        f"link add name {FIFTEEN} index 70 type veth peer name eth1 index 71",
    )
    events = about("eth1", watched.update())
    assert events == [Gone(ETH1), Came(ETH1)]


def test_a_rename_is_a_going_and_a_coming(watched: Watched, namespace: Namespace) -> None:
    namespace.ip("link set dev eth1 name lan0")
    assert watched.update() == [Gone(ETH1), Came(ETH1._replace(name="lan0"))]


def test_a_name_that_goes_from_one_to_the_other_is_never_two_at_once(
    watched: Watched, namespace: Namespace
) -> None:
    namespace.ip("link set dev eth1 name lan0", f"link set dev {FIFTEEN} name eth1")
    assert watched.update() == [
        Gone(ETH1),
        Gone(LONG),
        Came(ETH1._replace(name="lan0")),
        Came(LONG._replace(name="eth1")),
    ]


def test_an_interface_that_leaves_the_namespace_has_gone_until_it_is_back(
    watched: Watched, namespace: Namespace
) -> None:
    other = Namespace()
    try:
        namespace.ip(f"link set dev eth1 netns {other.path}")
        assert watched.update() == [Gone(ETH1)]
        other.ip(f"link set dev eth1 netns {namespace.path}")
        assert watched.update() == [Came(ETH1)]
    finally:
        other.close()


# What was missed


def test_where_events_were_lost_it_looks_at_everything(
    watched: Watched, namespace: Namespace
) -> None:
    watched.lose_events()
    chain = ["eth1", *(f"lan{n}" for n in range(40))]
    namespace.ip(
        *(f"link set dev {old} name {new}" for old, new in itertools.pairwise(chain)),
        "link add name eth2 index 72 type veth peer name eth3 index 73",
    )
    # Not the 40 renames: the first and the last name are all that is left of them.
    assert set(watched.update()) == {
        Gone(ETH1),
        Came(ETH1._replace(name="lan39")),
        Came(Link("eth2", 72, True)),
        Came(Link("eth3", 73, True)),
        Missed(),
    }
    namespace.ip("link delete dev eth2")
    watched.update()
    assert watched.present.keys() == {"lo", "lan39", FIFTEEN}


def test_very_many_are_listed_and_told_of_some_at_a_time(
    watched: Watched, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_MOST_LINKS", 2)
    watched.lose_events()
    namespace.ip("link add v0 type veth peer name v1", *["link set lo down", "link set lo up"] * 40)
    assert watched.update() == []
    namespace.ip("link set v0 name other", "link set lo down")  # while they are listed
    events: list[Event] = []
    while (told := watched.update()) or watched.links.behind:
        assert len(told) <= 2
        events += told
    assert Missed() in events
    assert watched.present.keys() == {"lo", "eth1", FIFTEEN, "other", "v1"}
    assert not watched.present["lo"].up


def test_names_that_were_exchanged_unseen_are_both_told_gone_before_they_come(
    watched: Watched, namespace: Namespace
) -> None:
    watched.lose_events()
    swap = (
        "link set dev eth1 name other",
        f"link set dev {FIFTEEN} name eth1",
        f"link set dev other name {FIFTEEN}",
    )
    namespace.ip(*swap * 21)
    events = watched.update()
    assert {type(event) for event in events[:2]} == {Gone}
    assert [type(event) for event in events[2:]] == [Came, Came, Missed]
    assert watched.present == {
        "lo": LO,
        "eth1": LONG._replace(name="eth1"),
        FIFTEEN: ETH1._replace(name=FIFTEEN),
    }


def test_what_was_made_again_unseen_has_gone_and_come(
    watched: Watched, namespace: Namespace
) -> None:
    watched.lose_events()
    again = [
        (
            "link delete dev eth1",
            f"link add name {FIFTEEN} index {n} type veth peer name eth1 index {n + 1}",
        )
        for n in range(100, 160, 2)
    ]
    namespace.ip(*(command for commands in again for command in commands))
    events = watched.update()
    assert about("eth1", events) == [Gone(ETH1), Came(ETH1._replace(ifindex=159))]
    assert events[-1] == Missed()


# Names are bytes

ODD_NAMES = [
    "\udcff",
    "eth\udcff\udcfe",
    "\udcf4\udc90\udc80\udc80",
    "a\x01b",
    "a\x1b[31m",
    "\x7f",
    "'\"$(x)",
    "\\xff",
    "eth*",
    "[ab]",
    "\u0101" * 7,
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_any_name_that_the_kernel_takes_is_text_and_drops_no_other(
    watched: Watched, namespace: Namespace, name: str
) -> None:
    namespace.ip_exactly("link", "add", "name", name, "type", "bridge")
    namespace.ip("link set dev eth1 name lan0")
    events = watched.update()
    (link,) = [
        event.link for event in events if isinstance(event, Came) and event.link.name != "lan0"
    ]
    assert link.name == name
    assert Came(ETH1._replace(name="lan0")) in events
    again = Watched(namespace)
    with again.links:
        again.update()
    assert again.present.keys() == {"lo", "lan0", FIFTEEN, name}
    namespace.ip_exactly("link", "delete", "dev", name)
    assert Gone(link) in watched.update()


def test_an_alternative_name_that_is_no_text_does_no_harm(
    watched: Watched, namespace: Namespace
) -> None:
    namespace.ip(f"link set dev {FIFTEEN} up", "link set dev eth1 up")
    namespace.wait_until_up(["eth1", FIFTEEN])
    watched.update()
    for altname in ("al\udcfft", "\x01", "l" * 127):
        namespace.ip_exactly("link", "property", "add", "dev", "eth1", "altname", altname)
    namespace.ip("link add name eth2 index 72 type veth peer name eth3 index 73")
    assert {Came(Link("eth2", 72, True)), Came(Link("eth3", 73, True))} <= set(watched.update())
