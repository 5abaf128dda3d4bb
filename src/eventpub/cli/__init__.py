"""The command line ``eventpub``, of the extra ``cli``: ``pip install 'eventpub[cli]'``.

Each command lives in a module of its own, which is imported when the command is called.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("cyclopts", "rich", "confluent_kafka")


def main() -> None:
    """Run the command that the arguments name, and exit with its status."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        fix = "pip install 'eventpub[cli]'"
        sys.exit(f"eventpub: the command line needs {', '.join(missing)}, which is not installed: {fix}")
    from eventpub.cli.app import run

    sys.exit(run(sys.argv[1:]))
