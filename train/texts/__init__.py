"""Labelled texts: reading them, holding parts out, and the order a run shows them in."""
