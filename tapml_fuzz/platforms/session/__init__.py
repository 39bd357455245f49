"""Sessions: a platform built on demand and run, in this process or in a worker of its own."""
