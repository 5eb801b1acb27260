"""Joins the parts of a run that several processes have written, after a check that nothing is missing."""
