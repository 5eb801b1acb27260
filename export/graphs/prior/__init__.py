"""The graphs of a prior: condition, row and step."""
