"""Topics, replica placement and leader election; decides, never waits."""
