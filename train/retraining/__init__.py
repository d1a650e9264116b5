"""Retraining: from feedback and the old texts to a registered version that the gate has let pass."""
