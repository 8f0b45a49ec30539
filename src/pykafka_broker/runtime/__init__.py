"""Drivers on trio for the rooms that decide: coordinator shards, waiting, log keeping, the controller's loop."""
