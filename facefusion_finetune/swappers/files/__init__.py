"""ONNX files on disk: opened safely, written back, linked to their base."""
