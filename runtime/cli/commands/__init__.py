"""The commands that need only the runtime, one per module."""
