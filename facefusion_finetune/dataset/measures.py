"""What is measured of the picture of one face, for quality and coverage."""

from pydantic import BaseModel, ConfigDict


class CropMeasures(BaseModel):
    """Measured once, when a face is found. Angles are degrees; None is what cannot be read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    size: float
    """Shorter side of the bounding box in pixels of the frame."""
    sharpness: float
    """0 (smeared) to 1 (crisp) at the face's own resolution, whatever its size."""
    brightness: float
    """Mean luma inside the face, 0 to 255."""
    contrast: float
    """Standard deviation of the luma inside the face, in grey levels."""
    dark: float
    """Share of the face that is black, 0 to 1."""
    bright: float
    """Share of the face that is burnt out, 0 to 1."""
    visible: float
    """Share of the face that nothing lies in front of, 0 to 1."""
    yaw: float | None
    """0 looks at the camera, positive turns to the picture's right."""
    pitch: float | None
    """Positive looks down."""
    roll: float
    """Of the line of the eyes; 0 is upright, positive is clockwise in the picture."""
    eye_opening: tuple[float | None, float | None]
    """Of the eye on the picture's left and right: distance of the lids over the eye's width."""
    mouth_opening: float | None
    """Distance of the lips' inner edges over the mouth's width; 0 is closed."""
    light: tuple[float, float]
    """Where the light comes from, right and down in the picture: difference of the luma of the
    face's halves over its mean. 0 is even light, 0.3 a strong side light."""
    glasses: float | None
    """Share of the face behind glasses, 0 to 1; None where the analyser cannot tell."""
