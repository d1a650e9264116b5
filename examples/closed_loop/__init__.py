"""Demonstration of the entire training loop on one machine, in minutes: `make demo`.

texts       labelled texts of two domains: real ones if they are available, otherwise generated ones
champion    model that is trained on the old domain only
traffic     clients that send texts and feedback, and record what they sent
run         sequence of the demonstration
report      table and plot of the demonstration
"""
