"""The figures of an evaluation as tables for people, and as a page of HTML."""
