"""/etc/mfc-dbus: the settings and routes.d."""
