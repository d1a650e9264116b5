"""Training run on Ray Train, from settings and data to a bundle."""
