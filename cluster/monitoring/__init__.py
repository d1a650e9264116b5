"""Monitoring in CloudWatch: what is collected, and what raises an alarm.

metrics.yaml   names, dimensions and thresholds; Terraform reads the same file
catalog        metrics.yaml as typed data
agent          the CloudWatch agent's manifests, which send Ray's metrics
"""
