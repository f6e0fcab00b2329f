"""The version of what is installed, looked up while its files can be read for certain."""

from importlib.metadata import version

VERSION = version("mfc-dbus")
