"""VIF numbers: the lowest free one, counted by their uses, at most 32."""

import pytest

from mfc_dbus.model.errors import TooManyInterfaces
from mfc_dbus.model.route import Oif
from mfc_dbus.routing.vifs import Vif, Vifs


def test_an_interface_gets_the_lowest_free_number() -> None:
    vifs = Vifs()
    for ifindex, name in enumerate(["a", "b", "c"], 10):
        assert vifs.acquire(name, ifindex)
    assert vifs.release("b") == Vif(1, "b", 11, 1)
    assert vifs.acquire("d", 13)
    assert vifs["d"].number == 1


def test_a_vif_is_there_while_it_is_used_and_no_longer() -> None:
    vifs = Vifs()
    assert vifs.acquire("a", 1)
    assert not vifs.acquire("a", 1)
    assert vifs["a"].references == 2
    assert vifs.release("a") is None
    assert vifs.release("a") == Vif(0, "a", 1, 1)
    assert "a" not in vifs
    assert len(vifs) == 0


def test_the_33rd_interface_is_refused_by_name() -> None:
    vifs = Vifs()
    for number in range(32):
        vifs.acquire(f"eth{number}", number + 1)
    with pytest.raises(TooManyInterfaces, match="'eth32' would be the 33rd"):
        vifs.acquire("eth32", 33)
    assert not vifs.acquire("eth31", 32)


def test_a_copy_changes_alone() -> None:
    vifs = Vifs()
    vifs.acquire("a", 1)
    copy = vifs.copy()
    copy.acquire("b", 2)
    copy.release("a")
    assert [vif.name for vif in vifs] == ["a"]


def test_an_entry_is_written_with_the_numbers_that_interfaces_have_by_then() -> None:
    vifs, oifs = Vifs(), (Oif("b", 7), Oif("c"))
    for ifindex, name in enumerate(["a", "b", "c"], 10):
        vifs.acquire(name, ifindex)
    assert vifs.numbers("a", oifs) == (0, ((1, 7), (2, 1)))
    vifs.release("b")
    with pytest.raises(KeyError):
        vifs.numbers("a", oifs)
    vifs.release("a")
    vifs.acquire("b", 11)
    vifs.acquire("a", 10)
    assert vifs.numbers("a", oifs) == (1, ((0, 7), (2, 1)))
    vifs.drop("b")
    vifs.hold(Vif(9, "b", 11, 0))
    assert vifs.numbers("a", oifs) == (1, ((2, 1), (9, 7)))


def test_of_ever_other_interfaces_not_all_numbers_are_remembered() -> None:
    vifs = Vifs()
    for number in range(20):
        vifs.acquire(f"eth{number}", number + 1)
    for n in range(1 << 12):
        oifs = tuple(Oif(f"eth{bit + 1}") for bit in range(12) if n >> bit & 1)
        assert vifs.numbers("eth0", oifs)[0] == 0
    assert len(vifs._numbers) <= 1024
