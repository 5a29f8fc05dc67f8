"""What all frames have in common, from whichever kind of file they are read."""

import numpy

from facefusion_finetune.faces.protocol import VisionFrame

MAX_ASPECT = 100
"""Times that one side of a frame can be as long as the other."""


def pad_narrow(vision_frame: VisionFrame) -> VisionFrame:
    """The frame, with black at the right or below if a side is less than a hundredth of the other.

    Networks get frames scaled to their input's size, in which such a side would have no pixel left.
    """
    height, width = vision_frame.shape[:2]
    least = -(-max(height, width) // MAX_ASPECT)
    missing = (max(least - height, 0), max(least - width, 0))
    if not any(missing):
        return vision_frame
    return numpy.pad(vision_frame, ((0, missing[0]), (0, missing[1]), (0, 0)))
