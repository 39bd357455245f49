"""Operator identity and meaning: resolving, calling, exporting an operator and inferring which of its axes agree."""
