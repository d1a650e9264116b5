"""Fault injection: effects on clients while parts of the service are killed, stopped, filled or flooded."""
