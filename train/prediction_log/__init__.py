"""Prediction log: reading, joining with feedback, importing feedback, and compaction."""
