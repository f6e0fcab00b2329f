"""mfc-dbus: static multicast routes of the Linux kernel, as a D-Bus system service."""
