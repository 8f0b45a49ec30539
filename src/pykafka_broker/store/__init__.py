"""Real files for the log: directories, checkpoints, fsync and recovery on worker threads."""
