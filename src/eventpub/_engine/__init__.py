"""Runs the rules: the only place that awaits outcomes. Knows the seams of ``eventpub.abc``, not what fills them."""
