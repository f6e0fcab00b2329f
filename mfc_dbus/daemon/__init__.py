"""The process: opens everything, wires it, drops privileges, keeps sockets over restarts."""
