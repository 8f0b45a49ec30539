"""Listeners, frames on a stream, and one task per connection."""
