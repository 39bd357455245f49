"""What the documents promise: links that lead somewhere, commands and imports that exist."""
