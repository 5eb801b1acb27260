"""The C library and Python as hosts: programs in which both draw the same, run as processes."""
