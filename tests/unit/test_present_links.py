"""What patterns match is remembered, and is what a look at all interfaces would find."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from lab.strategies import effort

from mfc_dbus.kernel.links import Link
from mfc_dbus.routing import present_links
from mfc_dbus.routing.present_links import PresentLinks, holds

ALL = ["eth0", "eth1", "eth10", "lo", "v1", "v2", "é1"]
NAMES = st.sampled_from(ALL)
PATTERNS = ["*", "eth*", "eth?", "v[12]", "nosuch*", "?*1"]


class Remembered(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.present = PresentLinks()

    @rule(name=NAMES, multicast=st.booleans(), ifindex=st.integers(1, 3))
    def put(self, name: str, multicast: bool, ifindex: int) -> None:
        self.present.put(Link(name, ifindex, multicast))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        before = self.present.get(name)
        assert self.present.remove(name) == before
        assert name not in self.present

    @rule(patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3))
    def ask(self, patterns: list[str]) -> None:
        self.present.matching(*patterns)

    @invariant()
    def it_is_what_a_look_finds(self) -> None:
        for patterns in [*self.present._matching]:
            found = [
                name
                for name, link in sorted(self.present.items())
                if any(fnmatchcase(name, each) for each in patterns)
                and link.multicast
                and name != "lo"
            ]
            assert list(self.present.matching(*patterns)) == found
            assert [name for name in ALL if holds(found, name)] == found


TestRemembered = Remembered.TestCase
TestRemembered.settings = effort(100, 30)


def test_an_event_costs_the_same_beside_thousands(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def matches(pattern: str, name: str) -> bool:
        compared.append(name)
        return fnmatchcase(name, pattern)

    present = PresentLinks({f"v{n}": Link(f"v{n}", n + 1, True) for n in range(4000)})
    assert len(present.matching("v*")) == 4000
    monkeypatch.setattr(present_links, "matches", matches)
    monkeypatch.setattr(present_links, "_find", None)  # no look at all of them
    present.remove("v7")
    present.put(Link("eth0", 5000, True))
    present.put(Link("v7", 5001, True))
    assert len(present.matching("v*")) == 4000
    assert compared == ["v7", "eth0", "v7"]


def test_very_many_patterns_are_not_all_remembered() -> None:
    present = PresentLinks({"v1": Link("v1", 1, True)})
    for n in range(1000):
        assert present.matching(f"v*{n}") == (["v1"] if n == 1 else [])
    assert len(present._matching) <= 64
