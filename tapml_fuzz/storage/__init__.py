"""What outlives a run: seeds and the corpus they form, as plain data that can never execute code."""
