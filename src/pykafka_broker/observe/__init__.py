"""What the broker says of itself: its log lines."""
