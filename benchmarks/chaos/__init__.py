"""Fault injection: what clients see while parts of the service are killed, stopped, filled or flooded."""
