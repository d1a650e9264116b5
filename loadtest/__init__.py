"""Load tests: Locust users, arrival schedules and the SLO verdict.

The package uses only HTTP and imports no other package of the project.
"""
