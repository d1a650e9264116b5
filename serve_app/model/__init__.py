"""Model: its artifact (bundle), its download and verification (store), and its inference (classifier)."""
