"""Show the applet on a studio's network with streams flowing: `make demo-desktop`.

On a display it is there to play with until its window is closed; without one, or with
--pictures DIRECTORY, it is drawn into pictures. Needs root, or: unshare -Urnm.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.bus import PrivateBus
from lab.cli import CLI
from lab.daemon import Daemon
from lab.desktop import PYTHON, Desktop, missing, python_environment, take_pictures
from lab.studio import FEW, Flow, Studio, document

SETTINGS = 'discovery.interfaces = ["remote"]\n'
# Streams of a site far away, which one route covers, and one that no route does.
REMOTE = [Flow("remote", f"10.0.4.{n}", f"239.30.0.{n}", n) for n in (2, 6, 12)]
STRAY = Flow("remote", "10.0.4.77", "239.99.0.1", 1, 100)
ROUTES = [
    *document(FEW, [["control", "record"], ["control", "monitor"], ["record", "uplink"]]),
    {"group": "239.30.0.0/16", "iif": "remote", "oifs": ["uplink"], "comment": "the remote site"},
    {"source": "10.0.4.10", "group": "239.40.0.1", "iif": "remote", "oifs": []},
    {"source": "10.0.9.10", "group": "239.40.0.2", "iif": "van", "oifs": ["record"]},
]
_SCREEN = (2400, 1600)  # in the middle of which is the pointer
SHOTS = [
    {"file": "applet.png", "page": "picture", "width": 1080, "height": 640, "wait": 9},
    {"file": "applet-dark.png", "page": "picture", "width": 1080, "height": 640, "dark": True},
    {"file": "applet-streams.png", "page": "streams", "width": 1080, "height": 640},
    {"file": "applet-narrow.png", "page": "picture", "width": 360, "height": 640},
    {
        "file": "applet-details.png",
        "page": "picture",
        "width": 1080,
        "height": 640,
        "choose": FEW[0].group,
        "explain": True,
    },
]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", metavar="DIRECTORY", type=Path)
    arguments = parser.parse_args()
    if missing():
        print(f"This system has no GTK desktop for it: {missing()}", file=sys.stderr)
        return 1
    has_display = "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    with contextlib.ExitStack() as stack:
        studio = Studio(stack)
        bus = stack.enter_context(PrivateBus())
        daemon = stack.enter_context(Daemon(bus.address, studio.router))
        daemon.configure(SETTINGS)
        cli = CLI(bus.address)
        cli("reload")
        cli.apply(json.dumps({"route": ROUTES}), "--wait")
        studio.play([*FEW, *REMOTE, STRAY])
        if has_display and not arguments.pictures:
            environment = python_environment() | {"DBUS_SYSTEM_BUS_ADDRESS": bus.address}
            return subprocess.run(
                [PYTHON, "-P", "-m", "mfc_dbus.applet.main"], env=environment
            ).returncode
        directory = arguments.pictures or Path(tempfile.mkdtemp(prefix="mfc-dbus-applet-"))
        directory.mkdir(exist_ok=True)
        desktop = Desktop(stack, bus.address, _SCREEN)
        shots = [shot | {"file": str(directory / str(shot["file"]))} for shot in SHOTS]
        take_pictures(desktop, shots)
        for shot in shots:
            print(shot["file"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
