"""Example of a rollout: the real service on this machine, under load, with a good and a bad canary.

models    two more versions of the built-in model, and the texts that are sent
harness   service, load and measurements
load, consistency_probe, memory, periodic   parts of that: open-loop requests, check for mixed answers,
          resident memory, repeated calls
timeline  journal and requests over time: rows of a table, and points of a plot
report    table and plot
run       sequence of the demonstration
"""
