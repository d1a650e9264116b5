"""Command line: one file per command, or per family of commands."""
