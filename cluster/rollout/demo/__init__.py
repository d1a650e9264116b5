"""A rollout to look at: the real service on this machine, under load, with a good canary and a bad one.

models    two more versions of the built-in model, and the texts that are sent
ground    the service, what asks it, and what is measured meanwhile
load, witness, memory, beside   the parts of that: open-loop requests, mixed answers, resident memory
timeline  journal and requests side by side: rows of a table, and points of a plot
report    the table and the plot
run       the demonstration itself
"""
