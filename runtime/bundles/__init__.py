"""Bundles: the manifest that describes one, and opening a directory that holds one."""
