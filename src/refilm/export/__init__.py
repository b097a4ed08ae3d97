"""Models for other programs: ONNX files, and weight files on a hub."""
