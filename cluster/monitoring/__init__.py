"""Monitoring in CloudWatch: collected metrics and alarms.

metrics.yaml   names, dimensions and thresholds; Terraform reads the same file
catalog        metrics.yaml as typed data
agent          manifests of the CloudWatch agent, which sends Ray's metrics
"""
