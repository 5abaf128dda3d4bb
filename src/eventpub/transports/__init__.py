"""Ways to a log: each implements `eventpub.abc.Transport`, and none knows another."""
