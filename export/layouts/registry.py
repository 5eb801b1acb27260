"""The list of checkpoint layouts. To add a layout, add it here."""

from __future__ import annotations

from latentloop.export.layouts.layout import Layout
from latentloop.export.layouts.own import OwnLayout
from latentloop.export.layouts.rosinality.layout import RosinalityLayout

LAYOUTS: list[Layout] = [
    OwnLayout(),
    RosinalityLayout(),
]  # the first one that can read a file reads it
