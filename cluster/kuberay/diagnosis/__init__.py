"""Diagnosis of Ray objects that are not ready, from the related objects in the cluster."""
