"""What is logged is for root, or who may reload, to say: org.freedesktop.LogControl1."""

import pytest
from lab.bus import PrivateBus
from lab.caller import STANDARD, Caller, plain, refused
from lab.daemon import BUS_NAME, Daemon
from lab.foreign import busctl, run
from lab.polkit import DENIALS, YES, Answer, MockPolkit

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.names import PROPERTIES
from mfc_dbus.model.members import Action
from mfc_dbus.service.logcontrol import INTERFACE, OBJECT_PATH

pytestmark = pytest.mark.usefixtures("own_daemon")


async def set_to(
    caller: Caller, value: object, name: str = "LogLevel", *, interface: str = PROPERTIES
) -> None:
    variant = value if isinstance(value, Variant) else Variant("s", value)
    body = [INTERFACE, name, variant]
    await caller.ask("Set", "ssv", body, path=OBJECT_PATH, interface=interface)


async def level(caller: Caller) -> object:
    body = [INTERFACE, "LogLevel"]
    (value,) = await caller.ask("Get", "ss", body, path=OBJECT_PATH, interface=PROPERTIES)
    return plain(value)


@DENIALS
@pytest.mark.parametrize("interface", [PROPERTIES, ""])
async def test_a_stranger_may_read_the_level_and_not_set_it(
    answer: Answer | None, error: str, interface: str, own_bus: PrivateBus, nobody: int
) -> None:
    async with Caller.at(own_bus.address, nobody) as stranger:
        if answer is None:
            await refused(set_to(stranger, "debug", interface=interface), f"{STANDARD}.{error}")
        else:
            async with MockPolkit.at(own_bus.address, answer):
                await refused(set_to(stranger, "debug", interface=interface), f"{STANDARD}.{error}")
        assert await level(stranger) == "info"


async def test_who_may_reload_may_set_it(own_bus: PrivateBus, nobody: int) -> None:
    async with (
        MockPolkit.at(own_bus.address, YES) as polkit,
        Caller.at(own_bus.address, nobody) as friend,
    ):
        await set_to(friend, "debug")
        check = await polkit.asked.get()
        assert (check.action, check.details) == (Action.RELOAD, {"property": "LogLevel"})
        assert await level(friend) == "debug"


@pytest.mark.parametrize(
    ("name", "value", "error", "sentence"),
    [
        ("LogLevel", "loud", "InvalidArgs", "LogLevel is one of 'debug', 'info', 'notice'"),
        ("LogLevel", Variant("u", 7), "InvalidArgs", "LogLevel is one of"),
        ("LogTarget", "console", "PropertyReadOnly", "'LogTarget' is read-only"),
        ("LogColour", "red", "UnknownProperty", "There is no property 'LogColour'"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anyone_is_asked(
    name: str, value: object, error: str, sentence: str, own_bus: PrivateBus, nobody: int
) -> None:
    async with MockPolkit.at(own_bus.address, YES) as polkit:
        for uid in (nobody, 0):
            async with Caller.at(own_bus.address, uid) as caller:
                await refused(set_to(caller, value, name), f"{STANDARD}.{error}", sentence)
                assert await level(caller) == "info"
        assert polkit.asked.empty()


async def test_the_level_says_what_is_logged(own_bus: PrivateBus, own_daemon: Daemon) -> None:
    async with Caller.at(own_bus.address) as root:
        for word, said in (("err", False), ("info", True)):
            await set_to(root, word)
            await root.add()
            await root.delete()
            assert ("deleted route (10.1.0.10, 239.1.2.3)" in own_daemon.log) == said


def test_systemctl_finds_what_it_asks_for(own_bus: PrivateBus) -> None:
    """It gets and sets the property as busctl does."""
    where = [BUS_NAME, OBJECT_PATH, INTERFACE]
    get = ["get-property", *where, "LogLevel", "LogTarget", "SyslogIdentifier"]
    assert busctl(own_bus.address, *get).splitlines() == [
        's "info"',
        's "console"',
        's "mfc-dbusd"',
    ]
    assert busctl(own_bus.address, "set-property", *where, "LogLevel", "s", "notice") == ""
    assert busctl(own_bus.address, "set-property", *where, "LogLevel", "s", "debug") == ""
    assert busctl(own_bus.address, *get[:-2]) == 's "debug"\n'
    wrong = run(own_bus.address, "busctl", "--system", "set-property", *where, "LogLevel", "s", "x")
    assert wrong.returncode == 1
    assert "LogLevel is one of" in wrong.stderr
    rows = busctl(own_bus.address, "introspect", BUS_NAME, OBJECT_PATH, INTERFACE).splitlines()
    assert ".LogLevel" in {row.split()[0] for row in rows}
