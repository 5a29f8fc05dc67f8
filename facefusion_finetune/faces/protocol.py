"""The interfaces through which the package finds, aligns, masks and recognises faces."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy
from numpy.typing import NDArray

from facefusion_finetune.swappers.catalogue import RecogniserOptions, SwapperOptions

VisionFrame = NDArray[numpy.uint8]
"""A picture: H x W x 3, BGR, 0 to 255."""

Mask = NDArray[numpy.float32]
"""H x W, 0 to 1."""

Points = NDArray[numpy.float64]
"""N x 2 positions (x, y) in pixels."""

Matrix = NDArray[numpy.float64]
"""2 x 3 affine matrix from frame pixels to crop pixels."""


@dataclass(frozen=True)
class DetectedFace:
    """One face in a frame; all positions in pixels of that frame."""

    bounding_box: NDArray[numpy.float64]
    """(4,): x1, y1, x2, y2."""
    landmark_5: Points
    """(5, 2): eyes, nose tip, mouth corners, which the host aligns by (its '5/68')."""
    landmark_68: Points
    """(68, 2)."""
    detector_score: float
    landmarker_score: float
    embedding: NDArray[numpy.float64]
    """(512,): the face embedding (the recogniser's vector), not normalised."""


@dataclass(frozen=True)
class FaceMasks:
    """Masks of an aligned crop; each H x W, 0 to 1."""

    face: Mask
    """1 on the face (skin, brows, eyes, nose, mouth)."""
    visible: Mask
    """1 where nothing occludes the face."""
    features: Mask
    """1 on eyes and mouth."""
    glasses: Mask | None = None
    """1 on glasses; None if the analyser cannot tell."""


@dataclass(frozen=True)
class FaceAttributes:
    """What a swap must preserve: pose and expression.

    Values that cannot be measured are NaN.
    """

    yaw: float
    """Degrees; 0 faces the camera, positive is turned to the picture's right."""
    pitch: float
    """Degrees; positive is down."""
    eye_opening: tuple[float, float]
    """Eyes on the picture's left and right: distance of the lids over the eye's width."""
    mouth_opening: float
    """Distance of the lips' inner edges over the mouth's width; 0 is closed."""
    gaze: tuple[float, float]
    """Offset of the irises from the eyes' centres, right and down, in eye widths: mean of both
    eyes. NaN if both eyes are closed."""


class ContentCheck(Protocol):
    """Refuses footage that must not be processed; FaceFusion's own networks decide."""

    def is_frame_blocked(self, vision_frame: VisionFrame) -> bool:
        """Whether the content check refuses this picture."""


class FaceFinder(Protocol):
    """Finds faces in a frame, and measures their pose and expression."""

    @property
    def same_person_cosine(self) -> float:
        """Two face embeddings with a cosine above this count as one person."""

    def detect_faces(self, vision_frame: VisionFrame) -> list[DetectedFace]:
        """All faces of a frame, best detector score first."""

    def measure_attributes(
        self, vision_frame: VisionFrame, landmark_5: Points
    ) -> FaceAttributes | None:
        """Measure pose, eyes, mouth and gaze in a picture, which may be swapped.

        Args:
            vision_frame: The picture.
            landmark_5: (5, 2), expected landmarks in its pixels.

        Returns:
            None if no face is found there.
        """


class FaceGeometry(Protocol):
    """Aligns, masks and pastes back a face whose landmarks are known."""

    def warp_templates(self) -> Mapping[str, Points]:
        """Every template's five landmarks in the unit square, by name."""

    def warp_face(
        self, vision_frame: VisionFrame, landmark_5: Points, template: str, size: tuple[int, int]
    ) -> tuple[VisionFrame, Matrix]:
        """The aligned crop of `size` (width, height) and its affine matrix."""

    def paste_back(
        self, vision_frame: VisionFrame, crop: NDArray[Any], mask: Mask, matrix: Matrix
    ) -> VisionFrame:
        """A copy of the frame with `crop` (BGR, 0 to 255) blended in by `mask`."""

    def create_paste_mask(self, crop: VisionFrame) -> Mask:
        """The mask used to paste back a swap with the current settings (by default: box)."""

    def create_masks(self, crop: VisionFrame) -> FaceMasks:
        """Face, occlusion and feature masks of an aligned crop."""


class SwapperCatalogue(Protocol):
    """Lists the base swappers, and how each is fed."""

    def list_swappers(self) -> list[str]:
        """Names of the base swappers that can be opened."""

    def get_swapper(self, name: str, path: Path | None = None) -> SwapperOptions:
        """The base swapper of that name.

        Args:
            name: See `list_swappers`.
            path: A file derived from it to use in its place; its other files stay the same.

        Raises:
            SwapperError: There is no such swapper, its type is unknown, or one of its files is
                missing or damaged.
        """


class Recognisers(Protocol):
    """Provides recognisers, and embeddings and pictures of people other than the one tuned."""

    def get_recogniser(self) -> RecogniserOptions:
        """The recogniser whose embeddings drive the swapper."""

    def get_judge(self) -> RecogniserOptions | None:
        """A second, independently trained recogniser, if there is one."""

    def sample_other_vectors(
        self, count: int, seed: int, for_judging: bool = False
    ) -> NDArray[numpy.float64]:
        """Unit vectors that represent people other than the one being tuned.

        Args:
            count: How many.
            seed: Seed of the choice.
            for_judging: Choose people who are never used in training.

        Returns:
            (count, 512).
        """

    def sample_other_pictures(
        self, count: int, seed: int, template: str, size: tuple[int, int]
    ) -> NDArray[numpy.uint8] | None:
        """Aligned pictures of people other than the one being tuned, if any are available.

        Args:
            count: How many.
            seed: Seed of the choice.
            template: Name of the warp template.
            size: Width and height in pixels.

        Returns:
            (count, H, W, 3), BGR; None if none are available.
        """


class FaceAnalyser(ContentCheck, FaceFinder, FaceGeometry, SwapperCatalogue, Recognisers, Protocol):
    """Everything needed from FaceFusion, or from its replacement.

    Training must see what the swapper will be fed later, so the program that swaps must implement
    this, too. A function that needs only one part says so in its signature.
    """

    @property
    def name(self) -> str:
        """Name and version of the implementation, for example `facefusion 3.8.1`."""
