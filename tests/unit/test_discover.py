"""The lines of discover: a command that can be pasted, and a memory that has an end."""

import argparse
import shlex

import pytest

from mfc_dbus.cli.arguments import parse
from mfc_dbus.cli.verbs.discover import Seen, Silent, command, line
from mfc_dbus.client import StreamInfo, UnroutedEvent


def parsed(event: UnroutedEvent) -> argparse.Namespace:
    """What the command line makes of the command in a line."""
    words = shlex.split(line(event, 1).partition("  ")[2].replace("...", "eth2"))
    return parse(words[1:])[1]


@pytest.mark.parametrize("iif", ["eth1", "-x", "--oifs", "$(reboot)", "a'b", 'q"', "a;b", "#1"])
def test_the_command_is_what_it_looks_like_in_a_shell(iif: str) -> None:
    event = UnroutedEvent("fd01::10", "ff1e::123", iif, 0)
    args = parsed(event)
    assert (args.source, args.group, args.iif) == ("fd01::10", "ff1e::123", iif)
    assert args.oifs == [["eth2"]]


def test_another_table_is_part_of_the_command() -> None:
    event = UnroutedEvent("10.0.0.1", "239.1.1.1", "eth1", 7)
    assert command(event)[-2:] == ["--table", "7"]


def test_a_link_local_sender_is_routed_as_any() -> None:
    args = parsed(UnroutedEvent("fe80::10", "ff1e::123", "eth1", 0))
    assert (args.source, args.group, args.iif) == ("*", "ff1e::123", "eth1")


def test_no_name_of_an_interface_commands_the_terminal() -> None:
    event = UnroutedEvent("10.0.0.1", "239.1.1.1", "\x1b[2J", 0)
    assert line(event, 3).isprintable()


def test_each_stream_is_counted_and_the_memory_has_an_end() -> None:
    seen = Seen()
    streams = [("10.0.0.1", f"239.1.{n >> 8}.{n & 255}", "eth1", 0) for n in range(12_000)]
    assert [seen.count(stream) for stream in streams[:3] * 2] == [1, 1, 1, 2, 2, 2]
    for stream in streams[3:]:
        seen.count(stream)
    assert seen.count(streams[-1]) == 2
    assert seen.count(streams[0]) == 1


def silent(group: str, *, learned: bool = False, wrong_if: int = 0) -> StreamInfo:
    stream = StreamInfo("*", group, "up", ("down",), learned, "*", group, "up")
    return stream._replace(packets=0, wrong_if=wrong_if)


def test_of_what_is_silent_each_route_is_told_once_and_more_of_what_arrives_elsewhere() -> None:
    chooser, route, stream = Silent(), silent("239.1.1.1"), silent("239.1.1.2", learned=True)
    assert chooser.to_tell([route, stream]) == []  # rates are not known yet
    assert chooser.to_tell([route, stream]) == [route]
    assert chooser.to_tell([route, stream]) == []
    for wrong_if in (3, 4):
        elsewhere = [each._replace(wrong_if=wrong_if) for each in (route, stream)]
        assert sorted(chooser.to_tell(elsewhere)) == elsewhere
    assert chooser.to_tell([]) == chooser.to_tell([route]) == []
    assert chooser.to_tell([route]) == [route]  # it had something in between
    many = [silent(f"239.2.2.{number}") for number in range(99)]
    assert (chooser.to_tell(many), len(chooser.to_tell(many))) == ([], 20)
