"""Where operators run. A platform is one file here and one line in the registry."""
