"""Evaluation of models on labelled texts."""
