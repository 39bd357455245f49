"""Data that outlives a run: seeds, the corpus they form, and findings; plain data that can never execute code."""
