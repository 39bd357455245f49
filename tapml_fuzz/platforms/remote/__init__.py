"""Platforms on other machines, over TVM's RPC."""
