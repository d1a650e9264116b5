"""Capture: what was asked, answered and later judged, kept as Parquet files in a folder or in S3."""
