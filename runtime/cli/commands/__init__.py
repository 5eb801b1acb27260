"""The commands that need only the runtime, one per module."""

COMMANDS = ("sample", "merge", "encode", "decode", "reconstruct", "verify", "info")
