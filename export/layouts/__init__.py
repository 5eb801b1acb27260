"""Checkpoint layouts: the names and formats under which implementations save their models.

To add a layout, write a class like those in ``own`` and ``rosinality`` and add it to ``registry.LAYOUTS``.
"""
