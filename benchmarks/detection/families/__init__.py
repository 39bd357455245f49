"""Faults, their twins and controls, one module a family; what is here is found by `registry.py`."""
