"""A bus of one's own, with the project's policy for the system bus."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from xml.sax.saxutils import escape

DAEMON = "dbus-daemon"
BROKER = "dbus-broker"  # its program is dbus-broker-launch
DATA = Path(__file__).parents[2] / "data"
POLICY = DATA / "org.example.MulticastForwarding.conf"

# What the system bus of a distribution allows, and no more.
_CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  {anonymous}
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Properties"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"
          send_member="UpdateActivationEnvironment"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>
  <limit name="max_incoming_bytes">133169152</limit>
  <limit name="max_outgoing_bytes">133169152</limit>
  <limit name="max_message_size">33554432</limit>
  <limit name="max_replies_per_connection">128</limit>
  {includes}
</busconfig>
"""


# What systemd gives to dbus-broker: the socket that listens, and the journal's to log to.
_LAUNCH = """
exec 3<&0 </dev/null
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal
for name in socket dev-log; do
    : >/run/systemd/journal/$name
    mount --bind "$1/journal" /run/systemd/journal/$name
done
export DBUS_SYSTEM_BUS_ADDRESS="unix:path=$1/socket"
LISTEN_PID=$$ LISTEN_FDS=1 exec dbus-broker-launch --scope=system --config-file="$1/bus.conf"
"""
_BACKLOG = 4096
_TIMEOUT = 20.0


class PrivateBus:
    """A dbus-daemon or dbus-broker that runs until `close`, listening when the constructor returns.

    program: which of them. anonymous: let clients in that do not say who they are (dbus-daemon
    alone can). includes: more policies than the project's own. prefix: what runs the command, such
    as another mount namespace.
    """

    def __init__(
        self,
        program: str = DAEMON,
        *,
        anonymous: bool = False,
        includes: Sequence[Path] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        with contextlib.ExitStack() as stack:
            self._directory = Path(tempfile.mkdtemp(prefix="mfc-dbus-bus-"))
            stack.callback(shutil.rmtree, self._directory)
            self._directory.chmod(0o755)
            self._socket = self._directory / "socket"
            self._config = self._directory / "bus.conf"
            self._config.write_text(
                _CONFIG.format(
                    socket=self._socket,
                    anonymous="<auth>ANONYMOUS</auth><allow_anonymous/>" if anonymous else "",
                    includes="".join(
                        f"<include>{escape(str(path))}</include>" for path in (POLICY, *includes)
                    ),
                )
            )
            self.address = f"unix:path={self._socket}"
            start = {DAEMON: self._start_daemon, BROKER: self._start_broker}[program]
            self.process = start(stack, prefix)
            stack.callback(self.stop)
            self._wait_until_it_answers()
            self._stack = stack.pop_all()

    def _start_daemon(
        self, _: contextlib.ExitStack, prefix: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*prefix, "dbus-daemon", f"--config-file={self._config}", "--nofork", "--nopidfile"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _start_broker(
        self, stack: contextlib.ExitStack, prefix: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        journal = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        journal.bind(str(self._directory / "journal"))
        reader = threading.Thread(target=_discard, args=[journal], daemon=True)
        reader.start()
        stack.callback(reader.join)
        stack.callback(journal.shutdown, socket.SHUT_RD)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self._socket))
            self._socket.chmod(0o666)
            listening.listen(_BACKLOG)
            return subprocess.Popen(
                [*prefix, "unshare", "--mount", "sh", "-euc", _LAUNCH, "sh", str(self._directory)],
                stdin=listening.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while self.process.poll() is None and time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
                sock.settimeout(_TIMEOUT)
                sock.connect(str(self._socket))
                sock.sendall(b"\0AUTH\r\n")
                if sock.recv(1024):
                    return
            time.sleep(0.01)
        raise OSError(f"the bus does not answer; its status is {self.process.poll()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """End the bus, and leave its directory."""
        self.process.terminate()
        self.process.wait()

    def close(self) -> None:
        self._stack.close()


def _discard(messages: socket.socket) -> None:
    """Read until the socket is shut down: dbus-broker waits for room for what it logs."""
    while messages.recv(65536):
        pass
