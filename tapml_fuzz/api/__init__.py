"""The public functions: check, replay, offload."""
