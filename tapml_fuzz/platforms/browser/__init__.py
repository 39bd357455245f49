"""TVM's WebAssembly runtime in a real browser."""
