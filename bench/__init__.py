"""`python -m bench`: this broker beside Apache Kafka 3.9.1, measured with the same client on the same machine."""
