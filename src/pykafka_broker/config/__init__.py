"""Kafka's configuration keys: properties text to typed settings, topic and broker overrides."""
