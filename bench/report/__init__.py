"""Results: files, tables, plots."""
