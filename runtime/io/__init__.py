"""Files: atomic writes, checks before a result is replaced, and files of codes."""
