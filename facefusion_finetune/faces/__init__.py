"""Who is in a frame: one protocol, several answers."""

from facefusion_finetune.faces.protocol import DetectedFace, FaceAnalyser, FaceMasks

__all__ = ["DetectedFace", "FaceAnalyser", "FaceMasks"]
