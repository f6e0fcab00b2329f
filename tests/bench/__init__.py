"""What the service costs: time, memory and what other callers wait, beside what others cost.

`make bench` measures all groups of __main__; a file is one group. Whatever is measured is the
installed program, as a process of its own, and figures are medians of several runs.
"""
