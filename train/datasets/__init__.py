"""Labelled texts: readers, train and held-out split, and the order in which a run uses the texts."""
