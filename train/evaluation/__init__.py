"""Measuring a model on labelled texts."""
