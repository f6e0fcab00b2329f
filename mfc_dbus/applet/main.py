"""mfc-dbus-applet: the window and the tray of whoever looks after multicast at a desktop."""

import sys
from collections.abc import Sequence

_NEEDED = {"Gtk": "4.0", "Adw": "1", "Json": "1.0"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run until the user quits. A second one shows the window of the first and ends."""
    try:
        _choose_versions()
    except (ImportError, ValueError) as error:
        print(
            "mfc-dbus-applet: it needs PyGObject with GTK 4, libadwaita 1.2 and JSON-GLib "
            f"(python3-gi, python3-gi-cairo, gir1.2-adw-1, gir1.2-json-1.0): {error}",
            file=sys.stderr,
        )
        return 1
    from mfc_dbus.applet.application import Application

    return int(Application().run([*(sys.argv if argv is None else ["mfc-dbus-applet", *argv])]))


def _choose_versions() -> None:
    """Choose the versions of the libraries before anybody loads them.

    Raises ImportError or ValueError where one is missing.
    """
    import gi

    for name, version in _NEEDED.items():
        gi.require_version(name, version)
    gi.require_foreign("cairo")


if __name__ == "__main__":
    sys.exit(main())
