"""``python -m torture.peers``."""

import sys

from torture.peers import main

sys.exit(0 if main() else 1)
