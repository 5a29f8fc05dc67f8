"""Faces in a frame: one protocol, several implementations."""

from facefusion_finetune.faces.protocol import DetectedFace, FaceAnalyser, FaceMasks

__all__ = ["DetectedFace", "FaceAnalyser", "FaceMasks"]
