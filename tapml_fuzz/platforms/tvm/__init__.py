"""Apache TVM: one lowering, one runner per way to run what it compiles."""
