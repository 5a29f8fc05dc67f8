"""ONNX files on disk: opened safely, written back and linked to their base."""
