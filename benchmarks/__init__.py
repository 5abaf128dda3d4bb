"""Measurements beside peers, on Apache Kafka. Never part of a test: machines are shared and noisy."""
