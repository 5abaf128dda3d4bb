"""Episodes of random publishes under random faults, each checked against what was promised: ``make torture``."""
