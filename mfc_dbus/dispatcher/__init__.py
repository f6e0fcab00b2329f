"""mfc-dbus-dispatcher: runs scripts when routes, memberships, interfaces or streams change."""
