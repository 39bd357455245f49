"""The platforms on which operators run. Each is one file here and one row in the registry."""
