"""Show mfc-dbus at work, in network namespaces of its own: `make demo`, `make demo-shell`.

Every command that it runs is printed and every claim that it makes is checked: the exit status is
0 only when all of it happened. Needs root, or: unshare -Urnm.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.netns import Namespace
from lab.packets import Run
from lab.privileges import NOBODY, ChildError, become, in_child, is_mapped
from lab.stage import (
    DRAWING,
    FAMILIES,
    RECEIVERS,
    SENDER,
    STREAMS,
    Arrived,
    Sent,
    Stage,
    Stream,
    Traffic,
    kept,
    open_collectors,
    open_senders,
)
from rich.console import Console
from rich.table import Table

from mfc_dbus.bus.connection import Connection
from mfc_dbus.client import Client, ClientError

CLI = "mfc-dbus-cli"
PACKETS = 50  # for each stream

SHELL_NOTE = f"""\
You are root in the router. The sender sends all the time, 10 packets a second for each of:

{"".join(f"    {stream}{chr(10)}" for stream in STREAMS)}
Try:
    receivers        what arrives at the receivers in one second
    mfc-dbus-cli mfc add --source 10.0.1.10 --group 239.1.1.1 --iif up --oifs down1 down2
    mfc-dbus-cli mfc add --group ff3e::2:2 --iif up --oifs down2
    mfc-dbus-cli     and: mfc-dbus-cli show interfaces, mfc-dbus-cli monitor, mfc-dbus-cli --help
    ip -s mroute     and: ip -s -6 mroute, ip monitor mroute
    busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" introspect org.example.MulticastForwarding \\
        /org/example/MulticastForwarding
    sender COMMAND   runs a command on the sender's host; so do receiver1 and receiver2

"exit" ends it all.
"""


class DemoError(Exception):
    """Something did not happen as it should."""


class Demo:
    """The steps, and how they are told. Each raises DemoError where something does not happen."""

    def __init__(self, console: Console, stack: contextlib.ExitStack) -> None:
        self._console = console
        self._anonymous = not is_mapped(NOBODY)
        self._stage = Stage(stack, anonymous=self._anonymous)
        self._traffic = Traffic(stack, self._stage)

    def build(self) -> None:
        self._console.print(DRAWING, style="cyan")
        self._console.print()
        self._check(self._stage.daemon.process.poll() is None, "the daemon serves on a private bus")
        self._check(not self._stage.entries(), "the kernel has no multicast route")

    def add(self) -> None:
        for stream in STREAMS:
            self._run(CLI, "mfc", "add", *selector(stream), "--iif", "up", "--oifs", *stream.oifs)
        self._check(True, "each was acknowledged")

    def send(self) -> None:
        sent, arrived = self._traffic.send(PACKETS)
        self._console.print(packet_table(sent, arrived))
        wanted = {
            (stream, link): sent[stream] if link in stream.oifs else []
            for stream in STREAMS
            for link in RECEIVERS
        }
        self._check(arrived == wanted, "each receiver got what is routed to it, once, and no more")

    def ask_the_kernel(self) -> None:
        self._run("ip", "-s", "mroute", "show")
        self._run("ip", "-s", "-6", "mroute", "show")
        self._check(self._is_routed(), "it has our routes (any source needs the iif in the oifs)")

    def ask_the_service(self) -> None:
        self._run(CLI, "show")
        self._run(CLI, "show", "interfaces")
        routes = json.loads(self._stage.run(CLI, "--json", "show").stdout)
        shown = {(route["source"], route["group"], route["state"]) for route in routes}
        wanted = {(stream.source, stream.group, "active") for stream in STREAMS}
        self._check(shown == wanted, "it has our routes, all of them active")

    def refuse(self) -> None:
        if self._anonymous:
            caller = "that does not tell the bus its user (there is one only, root, in here)"
        else:
            caller = f"of user {NOBODY}"
        self._console.print(f"  A process {caller} calls AddRoute:")
        address = self._stage.bus.address
        answer = in_child(lambda: call_as_stranger(address, anonymous=self._anonymous))
        self._console.print(f"  {answer}", markup=False)
        self._check(answer.startswith("AccessDenied: "), "it was refused")
        self._check(self._is_routed(), "the kernel has the same routes as before")

    def delete(self) -> None:
        for stream in STREAMS:
            self._run(CLI, "mfc", "del", *selector(stream))
        sent, arrived = self._traffic.send(PACKETS)
        self._console.print(packet_table(sent, arrived))
        self._check(not any(arrived.values()), "nothing arrives any more")
        self._check(not self._stage.entries(), "the kernel has no multicast route")

    def stop(self) -> None:
        self._check(self._stage.daemon.stop() == 0, "the daemon ended with status 0")

    def _is_routed(self) -> bool:
        return self._stage.entries() == {stream.entry for stream in STREAMS}

    def _run(self, *command: str) -> None:
        """Run a command in the router and show it with its output; it must succeed."""
        self._console.print(f"  [bold cyan]router#[/] [bold]{shlex.join(command)}[/]")
        done = self._stage.run(*command)
        for line in (done.stdout + done.stderr).splitlines():
            self._console.print(f"  {line}", markup=False)
        if done.returncode:
            raise DemoError(f"{command[0]} ended with status {done.returncode}")

    def _check(self, happened: bool, claim: str) -> None:
        if not happened:
            raise DemoError(f"it is not so that {claim}")
        self._console.print(f"  [green]✔[/] {claim}")


STEPS: Sequence[tuple[str, Callable[[Demo], None]]] = (
    ("A sender, a router and two receivers, each in a network namespace of its own", Demo.build),
    ("Add routes: from one source and from any, IPv4 and IPv6", Demo.add),
    (f"Send {PACKETS} numbered packets for each", Demo.send),
    ("What the kernel has", Demo.ask_the_kernel),
    ("What the service tells", Demo.ask_the_service),
    ("A caller without privileges", Demo.refuse),
    ("Delete the routes, and send again", Demo.delete),
    ("Stop the daemon", Demo.stop),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shell", action="store_true", help="leave me in a shell in the router")
    parser.add_argument("--sample", metavar="JSON", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    if arguments.sample:
        sample(console, **json.loads(arguments.sample))
    elif arguments.shell:
        shell(console)
    else:
        return demonstrate(console)
    return 0


def demonstrate(console: Console) -> int:
    begin = time.monotonic()
    step = "The stage"
    try:
        with contextlib.ExitStack() as stack:
            demo = Demo(console, stack)
            for number, (title, do) in enumerate(STEPS, start=1):
                step = f"{number}. {title}"
                console.print(f"\n[bold]{step}[/]\n")
                do(demo)
    except (DemoError, ChildError, OSError) as error:
        console.print(f"\n[bold red]✘ This failed:[/] {step}")
        console.print(f"  {type(error).__name__}: {error}", markup=False)
        return 1
    seconds = time.monotonic() - begin
    console.print(f"\n[bold green]All of it happened,[/] in {seconds:.1f} seconds.")
    return 0


def selector(stream: Stream) -> list[str]:
    """Name a stream to the command line."""
    source = [] if stream.source == "*" else ["--source", stream.source]
    return [*source, "--group", stream.group]


def packet_table(sent: Sent, arrived: Arrived) -> Table:
    table = Table("stream", "sent", *RECEIVERS.values())
    for stream, numbers in sent.items():
        got = (arrived[stream, link] for link in RECEIVERS)
        table.add_row(str(stream), ranges(numbers), *map(ranges, got))
    return table


def ranges(numbers: Sequence[int]) -> str:
    """Write sorted numbers so that a gap and a repetition show: "5: 1-3, 3, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    shown = ", ".join("-".join(map(str, run)) for run in runs)
    return f"{len(numbers)}: {shown}" if numbers else "nothing"


def call_as_stranger(address: str, *, anonymous: bool) -> str:
    """In a child: ask for a route with no privileges at all, and tell the answer."""
    if not anonymous:
        become(NOBODY)

    async def call() -> str:
        connection = await Connection.open(address, anonymous=anonymous)
        try:
            await Client(connection).add_route("239.3.3.3", "up", ["down1"])
        except ClientError as error:
            return f"{error.name}: {error}"
        finally:
            await connection.close()
        return "The route was added."

    return asyncio.run(call())


def shell(console: Console) -> None:
    """Leave the user in a shell in the router while the sender sends."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, anonymous=False)
        runs = {family: Run(family) for family in FAMILIES}
        for senders in open_senders(stack, stage, runs).values():
            for sender in senders:
                stack.enter_context(sender.flow(rate=10 // len(senders), steadfast=True))

        commands = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mfc-dbus-demo-")))
        for link, host in stage.hosts.items():
            name = "sender" if link == SENDER else RECEIVERS[link].replace(" ", "")
            write_command(commands / name, "nsenter", f"--net={host.path}", "--")
        sampled = {
            "paths": {link: stage.hosts[link].path for link in RECEIVERS},
            "magics": [run.magic.hex() for run in runs.values()],
        }
        write_command(
            commands / "receivers", sys.executable, __file__, "--sample", json.dumps(sampled)
        )

        console.print(DRAWING, style="cyan")
        console.print(f"\n{SHELL_NOTE}", markup=False)
        path = f"{commands}:{stage.environment['PATH']}"
        signal.signal(signal.SIGINT, lambda *_: None)  # for the shell; what it runs gets its own
        with stage.router:
            subprocess.run(
                os.environ.get("SHELL") or "/bin/sh", env=stage.environment | {"PATH": path}
            )


def write_command(file: Path, *command: str) -> None:
    file.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    file.chmod(0o755)


def sample(console: Console, paths: dict[str, str], magics: list[str]) -> None:
    """Show what arrives in one second at the receivers of the demo whose shell we are in."""
    with contextlib.ExitStack() as stack:
        hosts = {link: kept(stack, Namespace(path)) for link, path in paths.items()}
        runs = {
            family: Run(family, bytes.fromhex(magic))
            for family, magic in zip(FAMILIES, magics, strict=True)
        }
        collectors = open_collectors(stack, hosts, runs)
        time.sleep(1)
        arrived = Counter(
            (packet.group, link)
            for (link, _), collector in collectors.items()
            for packet in collector.so_far()
        )
    table = Table("packets in one second", *RECEIVERS.values())
    for stream in STREAMS:
        counts = (arrived[stream.group, link] for link in RECEIVERS)
        table.add_row(str(stream), *(str(count or "") for count in counts))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
