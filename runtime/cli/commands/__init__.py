"""The commands that need only the runtime, one per module."""

COMMANDS = ("sample", "encode", "decode", "reconstruct", "verify", "info")
