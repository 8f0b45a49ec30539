"""Classic consumer groups, their members, offsets and stored records; decides, never waits."""
