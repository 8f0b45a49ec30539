"""Kafka's wire protocol: spec text to construct codecs, headers of frames, record batches."""
