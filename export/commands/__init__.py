"""The commands that need the ``export`` extra, one a module."""
