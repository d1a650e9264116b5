"""Demonstration of a rollout: the real service on this machine, under load, with a good and a bad canary.

models    two more versions of the built-in model, and the texts that are sent
ground    service, load and measurements
load, witness, memory, beside   parts of that: open-loop requests, check for mixed answers, resident memory
timeline  journal and requests over time: rows of a table, and points of a plot
report    table and plot
run       sequence of the demonstration
"""
