"""Autoscaling policy for Ray Serve, which scales by the SLO's request rate per pod."""
