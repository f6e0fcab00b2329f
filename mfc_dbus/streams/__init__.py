"""Streams that the kernel asks about: learned ones, unrouted ones, and those on watched links."""
