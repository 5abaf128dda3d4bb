"""Preflight: connects as the application would, asks the cluster, and says what would go wrong.

Rules (`topics`, `dead_letters`, `access`, `clock`, and the judging half of `connecting`) are plain
functions of facts; only `connecting`, `asking`, `clock` and `preflight` wait. Nothing is written to
the cluster, unless a write probe is asked for.
"""
