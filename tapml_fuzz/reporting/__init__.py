"""Texts that people and other programs read: reproducers, terminal output, reports."""
