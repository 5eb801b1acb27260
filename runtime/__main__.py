"""``python -m latentloop``: the program, for launchers that start modules."""

import sys

from latentloop.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
