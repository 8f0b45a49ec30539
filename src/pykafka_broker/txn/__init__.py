"""Producer ids and transaction states; decides, never waits."""
