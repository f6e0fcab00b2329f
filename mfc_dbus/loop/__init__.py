"""How long work shares the event loop with everybody who is to be served meanwhile."""
