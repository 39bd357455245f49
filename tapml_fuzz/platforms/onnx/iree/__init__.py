"""IREE, by way of ONNX."""
