"""Drift detection: changes of the input texts, of the predictions and of the accuracy of a version."""
