"""State dicts in files that others saved: read as plain data, with no code of theirs run."""
