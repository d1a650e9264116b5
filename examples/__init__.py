"""Examples that run the service on one machine, or call it; each has a README.md and a test."""
