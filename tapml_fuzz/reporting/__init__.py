"""The results for people and other programs to read: reproducers, terminal output, reports."""
