"""A bus of one's own, with the project's policy for the system bus."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from xml.sax.saxutils import escape

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


class PrivateBus:
    """A dbus-daemon that runs until `close`, listening when the constructor returns.

    anonymous: let clients in that do not say who they are. includes: more policies than the
    project's own. prefix: what runs the command, such as another mount namespace.
    """

    def __init__(
        self,
        *,
        anonymous: bool = False,
        includes: Sequence[Path] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        with contextlib.ExitStack() as stack:
            directory = Path(tempfile.mkdtemp(prefix="mfc-dbus-bus-"))
            stack.callback(shutil.rmtree, directory)
            directory.chmod(0o755)
            config = directory / "bus.conf"
            config.write_text(
                _CONFIG.format(
                    socket=directory / "socket",
                    anonymous="<auth>ANONYMOUS</auth><allow_anonymous/>" if anonymous else "",
                    includes="".join(
                        f"<include>{escape(str(path))}</include>" for path in (POLICY, *includes)
                    ),
                )
            )
            self.address = f"unix:path={directory / 'socket'}"
            self.process = subprocess.Popen(
                [
                    *prefix,
                    "dbus-daemon",
                    f"--config-file={config}",
                    "--nofork",
                    "--nopidfile",
                    "--print-address",
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(self.stop)
            assert self.process.stdout is not None
            stack.callback(self.process.stdout.close)
            if not self.process.stdout.readline():  # it prints its address when it listens
                raise OSError(f"dbus-daemon ended with status {self.process.wait()}")
            self._stack = stack.pop_all()

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
