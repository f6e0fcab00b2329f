"""Keeps routes and memberships in SQLite."""
