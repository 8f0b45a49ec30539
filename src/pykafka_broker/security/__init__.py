"""Who may do what; decides, never waits."""
