"""Files: atomic writes, what may be replaced, and archives of codes."""
