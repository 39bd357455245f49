"""Gradual target offloading: a whole model moved from one platform to another, operator by operator."""
