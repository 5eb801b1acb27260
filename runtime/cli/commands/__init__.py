"""The commands that need only the runtime, one per module."""

COMMANDS = ("sample", "complete", "merge", "encode", "decode", "reconstruct", "evaluate", "verify", "info")
