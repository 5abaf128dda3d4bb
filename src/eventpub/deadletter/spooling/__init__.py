"""A local SQLite file that keeps dead letters, and the journal of their replays."""
