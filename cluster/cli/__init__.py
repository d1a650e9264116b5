"""Commands of the control plane, one file per command or group of commands."""
