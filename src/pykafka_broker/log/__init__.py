"""One partition: segments, indexes, producers, epochs and retention; decides over a Disk, never waits."""
