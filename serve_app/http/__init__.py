"""HTTP interface of a replica: routes, request pipeline, protocols, API keys and load shedding."""
