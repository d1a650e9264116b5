"""Load tests: Locust users, shapes and the SLO verdict. Speaks HTTP alone and imports no other room."""
