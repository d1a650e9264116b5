"""Measurements of the real project: speed compared with peers, error rates of decisions, costs, failures."""
