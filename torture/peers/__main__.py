"""``python -m torture.peers``."""

from torture.peers import main

main()
