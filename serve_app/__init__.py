"""The data plane: everything that runs inside a Serve replica. Imports none of the other rooms."""
