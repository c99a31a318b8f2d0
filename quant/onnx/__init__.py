"""ONNX files: QONNX and QCDQ written, those of other tools read."""
