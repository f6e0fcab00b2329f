"""One change at a time: what is wanted against what is present, and repair."""
