"""Writing a bundle: its source, the checks of the source, and the files."""

from latentloop.export.bundle.source import BundleSource
from latentloop.export.bundle.writing import write_bundle

__all__ = ["BundleSource", "write_bundle"]
