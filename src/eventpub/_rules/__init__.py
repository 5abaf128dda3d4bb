"""The delivery rules as plain functions and state machines: no await, no clock but the ``now`` they are given."""
