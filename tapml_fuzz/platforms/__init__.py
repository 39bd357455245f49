"""Where operators run. A platform is one file here and one row in the registry."""
