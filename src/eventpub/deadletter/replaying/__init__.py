"""Sending dead letters again: where they are read, what is chosen, and what was sent."""
