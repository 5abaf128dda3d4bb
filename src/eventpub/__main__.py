"""``python -m eventpub`` is the command ``eventpub``."""

from eventpub.cli import main

main()
