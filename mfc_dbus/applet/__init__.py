"""The desktop's window and tray: shows the streams, and lets one act on them.

Whatever needs GTK is imported from `main` on, so that the package can be imported without it.
"""
