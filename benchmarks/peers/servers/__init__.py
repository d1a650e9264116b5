"""Small servers of the same model, one module per peer; each runs in an environment of its own."""
