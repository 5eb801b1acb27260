"""State dicts of other implementations, read as plain data: no code in their files is executed."""
