"""Conformance checks of a Driver: plain functions that raise AssertionError, run by the tests and on a GPU."""
