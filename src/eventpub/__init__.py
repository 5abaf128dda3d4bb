"""Publish events to Kafka from asyncio, and know what became of each."""
