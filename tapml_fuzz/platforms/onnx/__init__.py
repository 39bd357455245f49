"""Platforms that read ONNX models: one export, one file per runtime."""
