"""Words that every room speaks: names, offsets, error codes, time, and who is asking."""
