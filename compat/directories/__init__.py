"""One data directory, opened by Apache Kafka and by this broker in turn."""
