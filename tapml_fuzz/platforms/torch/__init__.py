"""torch's own platforms: eager mode and torch.compile."""
