"""For other programs: ONNX files, weight files on a hub, and filters for VapourSynth."""
