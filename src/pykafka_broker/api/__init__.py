"""One module per family of requests; routes collects them, the desk answers one call."""
