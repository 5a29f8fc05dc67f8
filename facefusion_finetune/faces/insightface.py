"""Faces with insightface, for machines without FaceFusion: its networks, FaceFusion's geometry."""

import importlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.faces import outlines, warp
from facefusion_finetune.faces.attributes import find_nearest, measure_landmarks
from facefusion_finetune.faces.content import ContentCheck, find_content_directory
from facefusion_finetune.faces.insightface_pack import find_pack, import_insightface, open_network
from facefusion_finetune.faces.protocol import (
    DetectedFace,
    FaceAttributes,
    FaceMasks,
    Mask,
    Matrix,
    Points,
    VisionFrame,
)
from facefusion_finetune.faces.vectors import sample_directions
from facefusion_finetune.host.locate import BENCH_MARKER, STAND_INS
from facefusion_finetune.swappers.catalogue import RecogniserOptions, SwapperOptions
from facefusion_finetune.swappers.known import (
    KNOWN_SWAPPERS,
    find_models_directory,
    get_known_swapper,
)
from facefusion_finetune.swappers.sessions import create_session, embed_crops

SAME_PERSON_COSINE = 0.4
"""Equivalent to FaceFusion's default `reference_face_distance` of 0.3."""
DETECTOR_SIDE = 640
MIN_DETECTOR_SCORE = 0.5
OVERLAP = 0.4
"""All three are FaceFusion's defaults."""
MIN_LANDMARKER_SCORE = 0.5
"""FaceFusion's limit for deriving the five landmarks from the 68."""
DISAGREEMENT = 1.0
"""Distance between the detector's five landmarks and those from the 68 that scores 0, as a share of
the face's scale. Half of it is the limit. On the bench's sampled frames, where the 68 are correct,
the worst is 0.34 (a tilted head, which the detector locates roughly); with a box three quarters of
its height above the face, where the landmarker cannot find it, the score is 0."""
FACE_BOX = (0.2, 0.2, 0.8, 0.95)
"""The face's box in an aligned crop, in the unit square, for any template."""


class InsightFaceAnalyser:
    """Implements `faces.protocol.FaceAnalyser` with an insightface model pack.

    Crops use FaceFusion's five landmarks, templates and functions, and embeddings are those of the
    recogniser that drives FaceFusion's swappers. There is neither a parser nor an occluder: masks
    are outlines of the landmarks. Nothing is ever downloaded.

    Args:
        pack: Folder of the model pack; if None, see `find_pack`.
        content_models: Folder of FaceFusion's content classifiers; if None, see `faces.content`,
            with the pack's folder as the fallback.
        models: Folder of the swappers' files; if None, see `swappers.known`.

    Raises:
        HostError: insightface is not installed, or the model pack is missing or damaged.
    """

    def __init__(
        self,
        pack: Path | None = None,
        content_models: Path | None = None,
        models: Path | None = None,
    ) -> None:
        self._version = import_insightface().__version__
        self._pack = find_pack(pack)
        self._content = ContentCheck(find_content_directory(self._pack.directory, content_models))
        self._models = find_models_directory(models)
        self._detector = open_network(self._pack.detector, "detection")
        self._landmarker = open_network(self._pack.landmarker, "landmark_3d_68")
        self._face_type = importlib.import_module("insightface.app.common").Face
        self._detector.prepare(
            0,
            input_size=(DETECTOR_SIDE, DETECTOR_SIDE),
            det_thresh=MIN_DETECTOR_SCORE,
            nms_thresh=OVERLAP,
        )

    @property
    def name(self) -> str:
        """For example `insightface 2.1 (buffalo_l)`; says so if its networks are stand-ins."""
        directory = self._pack.directory
        name = f"insightface {self._version} ({directory.name})"
        return f"{name} with {STAND_INS}" if (directory / BENCH_MARKER).exists() else name

    @property
    def same_person_cosine(self) -> float:
        """FaceFusion's default, for the same recogniser."""
        return SAME_PERSON_COSINE

    def is_frame_blocked(self, vision_frame: VisionFrame) -> bool:
        """Whether FaceFusion's content classifiers refuse the picture.

        Raises:
            FootageError: The classifiers are missing or damaged.
        """
        return self._content.is_frame_blocked(vision_frame)

    def detect_faces(self, vision_frame: VisionFrame) -> list[DetectedFace]:
        """All faces of a frame, best detector score first.

        insightface's landmarker gives no score, so `landmarker_score` is its agreement with the
        detector's own landmarks.
        """
        faces = []
        for box, points in self._find_boxes(vision_frame):
            landmark_68 = self._find_landmarks(vision_frame, box[:4])
            landmark_5 = convert_to_five(landmark_68)
            score = score_agreement(landmark_5, points)
            if score <= MIN_LANDMARKER_SCORE:
                landmark_5 = points
            embedding = self._embed(vision_frame, landmark_5)
            faces.append(
                DetectedFace(box[:4], landmark_5, landmark_68, float(box[4]), score, embedding)
            )
        return sorted(faces, key=lambda face: face.detector_score, reverse=True)

    def measure_attributes(
        self, vision_frame: VisionFrame, landmark_5: Points
    ) -> FaceAttributes | None:
        """Pose, eyes, mouth and gaze of the face at `landmark_5`; None if there is none nearby."""
        face = find_nearest(self.detect_faces(vision_frame), landmark_5)
        return measure_landmarks(vision_frame, face.landmark_68) if face else None

    def warp_templates(self) -> Mapping[str, Points]:
        """Every warp template's five landmarks in the unit square, by name."""
        return warp.warp_templates()

    def warp_face(
        self, vision_frame: VisionFrame, landmark_5: Points, template: str, size: tuple[int, int]
    ) -> tuple[VisionFrame, Matrix]:
        """The aligned crop of `size` (width, height) and its 2 x 3 affine matrix."""
        return warp.warp_face(vision_frame, landmark_5, template, size)

    def paste_back(
        self, vision_frame: VisionFrame, crop: NDArray[Any], mask: Mask, matrix: Matrix
    ) -> VisionFrame:
        """A copy of the frame with `crop` (BGR, 0 to 255) blended in by `mask`."""
        return warp.paste_back(vision_frame, crop, mask, matrix)

    def create_paste_mask(self, crop: VisionFrame) -> Mask:
        """FaceFusion's box mask, its default."""
        return warp.create_box_mask(crop)

    def create_masks(self, crop: VisionFrame) -> FaceMasks:
        """Outlines of the face, eyes and mouth found in an aligned crop.

        The face counts as not occluded, and glasses are not detected.
        """
        height, width = crop.shape[:2]
        # a face that fills the picture is detected only with a margin around it
        rim = max(width, height) // 2
        roomy = cv2.copyMakeBorder(crop, rim, rim, rim, rim, cv2.BORDER_CONSTANT)
        boxes = [box[:4] for box, _ in self._find_boxes(roomy)]
        boxes = boxes or [numpy.array(FACE_BOX) * (width, height, width, height) + rim]
        middle = numpy.array(roomy.shape[1::-1]) / 2
        box = min(boxes, key=lambda box: _measure(box.reshape(2, 2).mean(axis=0) - middle))
        landmark_68 = self._find_landmarks(roomy, box) - rim
        return outlines.draw_masks(landmark_68, (width, height))

    def list_swappers(self) -> list[str]:
        """FaceFusion's face swappers, whether their files exist or not."""
        return sorted(KNOWN_SWAPPERS)

    def get_swapper(self, name: str, path: Path | None = None) -> SwapperOptions:
        """The base swapper of that name; its files must exist, since nothing is downloaded.

        Args:
            name: FaceFusion's name for it.
            path: A file derived from it to use in its place; its own file is then not needed.

        Raises:
            SwapperError: There is no such swapper, or one of its files is missing or damaged.
        """
        return get_known_swapper(name, self._models, path)

    def get_recogniser(self) -> RecogniserOptions:
        """The pack's recogniser, the one that drives FaceFusion's swappers."""
        return RecogniserOptions(
            name=self._pack.recogniser.stem,
            path=self._pack.recogniser,
            template="arcface_112_v2",
            size=(112, 112),
            mean=127.5,
            standard_deviation=127.5,
        )

    def get_judge(self) -> RecogniserOptions | None:
        """None: the pack has only one recogniser."""
        return None

    def sample_other_vectors(
        self, count: int, seed: int, for_judging: bool = False
    ) -> NDArray[numpy.float64]:
        """(count, 512): random directions; see `faces.vectors`."""
        return sample_directions(count, seed, for_judging)

    def sample_other_pictures(
        self, count: int, seed: int, template: str, size: tuple[int, int]
    ) -> NDArray[numpy.uint8] | None:
        """None: insightface includes no pictures of people to swap."""
        return None

    def _find_boxes(self, vision_frame: VisionFrame) -> list[tuple[NDArray[Any], Points]]:
        """For every face, (5,): x1, y1, x2, y2, score; and the detector's (5, 2) landmarks."""
        height, width = vision_frame.shape[:2]
        if max(height, width) < DETECTOR_SIDE:
            # insightface enlarges a small frame, FaceFusion does not
            bottom, right = DETECTOR_SIDE - height, DETECTOR_SIDE - width
            vision_frame = cv2.copyMakeBorder(
                vision_frame, 0, bottom, 0, right, cv2.BORDER_CONSTANT
            )
        boxes, points = self._detector.detect(vision_frame)
        return list(zip(boxes.astype(numpy.float64), points.astype(numpy.float64), strict=True))

    def _find_landmarks(self, vision_frame: VisionFrame, box: NDArray[Any]) -> Points:
        """(68, 2): landmarks of the face in a box: x1, y1, x2, y2."""
        found = self._landmarker.get(vision_frame, self._face_type(bbox=box))
        landmark_68: Points = found[:, :2].astype(numpy.float64)
        return landmark_68

    def _embed(self, vision_frame: VisionFrame, landmark_5: Points) -> NDArray[numpy.float64]:
        options = self.get_recogniser()
        crop, _ = warp.warp_face(vision_frame, landmark_5, options.template, options.size)
        return numpy.asarray(embed_crops(self._recogniser, options, crop[None])[0], numpy.float64)

    @cached_property
    def _recogniser(self) -> Any:
        return create_session(self._pack.recogniser, str(self._pack.recogniser))


def convert_to_five(landmark_68: Points) -> Points:
    """(5, 2): eyes, nose tip and mouth corners from the 68 landmarks, as FaceFusion's '5/68'."""
    eyes = [landmark_68[eye].mean(axis=0) for eye in outlines.EYES]
    return numpy.stack([*eyes, *landmark_68[[30, 48, 54]]])


def score_agreement(landmark_5: Points, others: Points) -> float:
    """1 if two sets of five landmarks are identical, falling to 0 at `DISAGREEMENT`.

    The face's scale is the larger of the distances between the eyes and between eyes and mouth,
    since one of them shrinks as the head turns.
    """
    eyes, mouth = others[:2], others[3:]
    scale = max(_measure(eyes[1] - eyes[0]), _measure(mouth.mean(axis=0) - eyes.mean(axis=0)))
    distance = float(numpy.linalg.norm(landmark_5 - others, axis=1).mean())
    return max(1 - distance / (DISAGREEMENT * max(scale, 1e-6)), 0.0)


def _measure(vector: NDArray[Any]) -> float:
    return float(numpy.linalg.norm(vector))
