"""The command line: one file a verb, or a family of verbs."""
