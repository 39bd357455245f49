"""Tests of the platforms room, with hand-written operators and misbehaving platforms."""
