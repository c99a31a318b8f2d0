"""Reading the ONNX files of other tools: every operation and attribute used, or refused by name."""
