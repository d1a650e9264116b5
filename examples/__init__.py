"""Examples that run the entire service on one machine; each has a README.md."""
