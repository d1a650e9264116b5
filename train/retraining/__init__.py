"""Retraining: creates a registered version that passed the gate from feedback and the earlier texts."""
