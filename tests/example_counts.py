"""How many times as many random examples as usual the tests try. `.ci/run --long` asks for more of them."""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("LATENTLOOP_TEST_EXAMPLES", "1"))
