"""Clients and brokers of before Kafka 0.11."""
