import sys

from mfc_dbus.cli import main

sys.exit(main())
