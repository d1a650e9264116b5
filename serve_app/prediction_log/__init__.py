"""Prediction log: predictions and feedback, stored as Parquet files in a folder or in S3."""
