"""The filters of tc on an interface, any of which may drop: for root alone. Source: tc(8)."""

import json
import shlex
import subprocess
from contextlib import suppress

from mfc_dbus.cli.firewall import Suspect

_TIMEOUT = 10


def suspects(interface: str, direction: str) -> list[Suspect]:
    """Return the filters. direction: "ingress" or "egress"."""
    with suppress(OSError, ValueError, LookupError, TypeError, subprocess.SubprocessError):
        done = subprocess.run(
            ["tc", "-json", "filter", "show", "dev", interface, direction],
            check=False,
            capture_output=True,
            timeout=_TIMEOUT,
        )
        found = {}
        for each in json.loads(done.stdout or b"[]"):
            place = ["dev", interface, direction, "pref", str(each["pref"])]
            words = f"tc filter {shlex.join(place)} ({each['kind']})"
            found[words] = Suspect(words, False, shlex.join(["tc", "filter", "del", *place]))
        return [*found.values()]
    return []
