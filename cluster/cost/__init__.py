"""Cost: what pods and tokens cost a month, from a dated price book."""
