"""The whole loop on one machine, in minutes: `make demo`.

texts       two domains with their labels: real ones where there are some, else invented
champion    a model of the old domain alone
traffic     asks, says what was right, and remembers what it asked
run         the story
report      its table and plot
"""
