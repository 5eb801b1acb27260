"""The commands that need nothing but the runtime, one a module."""
