"""Replica: the Serve deployment, its loaded model, its shadow model and its status."""
