"""Faces by insightface, for machines without FaceFusion: its networks, FaceFusion's geometry."""

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
"""What FaceFusion's default `reference_face_distance` of 0.3 comes to."""
DETECTOR_SIDE = 640
LOWEST_DETECTOR_SCORE = 0.5
OVERLAP = 0.4
"""All three as FaceFusion's defaults have it."""
LOWEST_LANDMARKER_SCORE = 0.5
"""FaceFusion's limit for taking the five points from the 68."""
DISAGREEMENT = 1.0
"""Distance between the detector's five points and those of the 68, as a share of the face's scale,
that scores 0. Half of it is the limit. On the bench's sampled frames, where the 68 are right, the
worst is 0.34 (a tilted head, whose points the detector places roughly); sought three quarters of a
box above the face, where the landmarker cannot find it, they score 0."""
MIDDLE = (0.2, 0.2, 0.8, 0.95)
"""Where an aligned crop shows the face, in the unit square, whatever the template."""


class InsightFaceAnalyser:
    """Implements `faces.protocol.FaceAnalyser` over a model pack of insightface.

    Crops are cut by FaceFusion's five points, templates and functions, and vectors are those of the
    recogniser that FaceFusion's swappers are driven by. There is neither a parser nor an occluder:
    masks are outlines of the landmarks. Nothing is ever downloaded.

    Args:
        pack: Folder of the model pack; else it is looked for, see `find_pack`.
        content_models: Folder of FaceFusion's content classifiers; else see `faces.content`, and in
            the end the pack's folder.
        models: Folder of the swappers' files; else see `swappers.known`.

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
            det_thresh=LOWEST_DETECTOR_SCORE,
            nms_thresh=OVERLAP,
        )

    @property
    def name(self) -> str:
        """For example `insightface 2.1 (buffalo_l)`; networks that know nobody are said."""
        directory = self._pack.directory
        name = f"insightface {self._version} ({directory.name})"
        return f"{name} with {STAND_INS}" if (directory / BENCH_MARKER).exists() else name

    @property
    def same_person_cosine(self) -> float:
        """FaceFusion's default, for the same recogniser."""
        return SAME_PERSON_COSINE

    def is_blocked(self, path: Path) -> bool:
        """Whether FaceFusion's content classifiers refuse the image or video file.

        Raises:
            FootageError: The classifiers are missing or damaged: nothing is used unchecked.
            UnreadableError: The file cannot be read, so that its content is unchecked.
        """
        return self._content.is_blocked(path)

    def is_frame_blocked(self, vision_frame: VisionFrame) -> bool:
        """Whether FaceFusion's content classifiers refuse the picture.

        Raises:
            FootageError: The classifiers are missing or damaged.
        """
        return self._content.is_frame_blocked(vision_frame)

    def detect_faces(self, vision_frame: VisionFrame) -> list[DetectedFace]:
        """All faces of a frame, best detector score first.

        `landmarker_score` is how well the landmarker agrees with the detector, whose points are
        found apart: insightface's landmarker gives no score.
        """
        faces = []
        for box, points in self._find_boxes(vision_frame):
            landmark_68 = self._find_landmarks(vision_frame, box[:4])
            landmark_5 = convert_to_five(landmark_68)
            score = score_agreement(landmark_5, points)
            if score <= LOWEST_LANDMARKER_SCORE:
                landmark_5 = points
            embedding = self._embed(vision_frame, landmark_5)
            faces.append(
                DetectedFace(box[:4], landmark_5, landmark_68, float(box[4]), score, embedding)
            )
        return sorted(faces, key=lambda face: face.detector_score, reverse=True)

    def measure_attributes(
        self, vision_frame: VisionFrame, landmark_5: Points
    ) -> FaceAttributes | None:
        """Pose, eyes, mouth and gaze of the face found next to `landmark_5`, None if it is far."""
        face = find_nearest(self.detect_faces(vision_frame), landmark_5)
        return measure_landmarks(vision_frame, face.landmark_68) if face else None

    def warp_templates(self) -> Mapping[str, Points]:
        """Every warp template's five points in the unit square, by name."""
        return warp.warp_templates()

    def warp_face(
        self, vision_frame: VisionFrame, landmark_5: Points, template: str, size: tuple[int, int]
    ) -> tuple[VisionFrame, Matrix]:
        """The aligned crop of `size` (width, height) and the 2 x 3 matrix that made it."""
        return warp.warp_face(vision_frame, landmark_5, template, size)

    def paste_back(
        self, vision_frame: VisionFrame, crop: NDArray[Any], mask: Mask, matrix: Matrix
    ) -> VisionFrame:
        """A copy of the frame with `crop` (BGR, 0 to 255) laid over it where `mask` says."""
        return warp.paste_back(vision_frame, crop, mask, matrix)

    def create_paste_mask(self, crop: VisionFrame) -> Mask:
        """FaceFusion's box mask, which is its default."""
        return warp.create_box_mask(crop)

    def create_masks(self, crop: VisionFrame) -> FaceMasks:
        """Outlines of the face, eyes and mouth that are found in an aligned crop.

        Nothing is known to lie in front of the face, and glasses cannot be told.
        """
        height, width = crop.shape[:2]
        # a face that fills its picture is found only with room around it
        rim = max(width, height) // 2
        roomy = cv2.copyMakeBorder(crop, rim, rim, rim, rim, cv2.BORDER_CONSTANT)
        boxes = [box[:4] for box, _ in self._find_boxes(roomy)]
        boxes = boxes or [numpy.array(MIDDLE) * (width, height, width, height) + rim]
        middle = numpy.array(roomy.shape[1::-1]) / 2
        box = min(boxes, key=lambda box: _measure(box.reshape(2, 2).mean(axis=0) - middle))
        landmark_68 = self._find_landmarks(roomy, box) - rim
        return outlines.draw_masks(landmark_68, (width, height))

    def list_swappers(self) -> list[str]:
        """FaceFusion's face swappers, be their files there or not."""
        return sorted(KNOWN_SWAPPERS)

    def get_swapper(self, name: str, path: Path | None = None) -> SwapperOptions:
        """The base swapper of that name; its files are looked for and not downloaded.

        Args:
            name: As FaceFusion calls it.
            path: A file derived from it that takes its place; its own file is then not needed.

        Raises:
            SwapperError: There is no such swapper, or a file of it is missing or damaged.
        """
        return get_known_swapper(name, self._models, path)

    def get_recogniser(self) -> RecogniserOptions:
        """The pack's recogniser, the one FaceFusion drives its swappers by."""
        return RecogniserOptions(
            name=self._pack.recogniser.stem,
            path=self._pack.recogniser,
            template="arcface_112_v2",
            size=(112, 112),
            mean=127.5,
            standard_deviation=127.5,
        )

    def get_judge(self) -> RecogniserOptions | None:
        """None: the pack has one recogniser only."""
        return None

    def sample_other_vectors(
        self, count: int, seed: int, for_judging: bool = False
    ) -> NDArray[numpy.float64]:
        """(count, 512): random directions; see `faces.others`."""
        return sample_directions(count, seed, for_judging)

    def sample_other_pictures(
        self, count: int, seed: int, template: str, size: tuple[int, int]
    ) -> NDArray[numpy.uint8] | None:
        """None: insightface brings no pictures of people to swap."""
        return None

    def _find_boxes(self, vision_frame: VisionFrame) -> list[tuple[NDArray[Any], Points]]:
        """(5,): x1, y1, x2, y2, score; and the detector's (5, 2) points, of every face."""
        height, width = vision_frame.shape[:2]
        if max(height, width) < DETECTOR_SIDE:
            # insightface enlarges a small frame, FaceFusion looks at it as it is
            bottom, right = DETECTOR_SIDE - height, DETECTOR_SIDE - width
            vision_frame = cv2.copyMakeBorder(
                vision_frame, 0, bottom, 0, right, cv2.BORDER_CONSTANT
            )
        boxes, points = self._detector.detect(vision_frame)
        return list(zip(boxes.astype(numpy.float64), points.astype(numpy.float64), strict=True))

    def _find_landmarks(self, vision_frame: VisionFrame, box: NDArray[Any]) -> Points:
        """(68, 2) of the face in a box: x1, y1, x2, y2."""
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
    """(5, 2): eyes, nose tip and mouth corners of the 68, as FaceFusion's '5/68'."""
    eyes = [landmark_68[eye].mean(axis=0) for eye in outlines.EYES]
    return numpy.stack([*eyes, *landmark_68[[30, 48, 54]]])


def score_agreement(landmark_5: Points, others: Points) -> float:
    """1 where two answers for the five points are the same, 0 from `DISAGREEMENT` on.

    The face's scale is the larger of the distance of the eyes and that of eyes and mouth, since one
    of them shrinks as a head turns.
    """
    eyes, mouth = others[:2], others[3:]
    scale = max(_measure(eyes[1] - eyes[0]), _measure(mouth.mean(axis=0) - eyes.mean(axis=0)))
    distance = float(numpy.linalg.norm(landmark_5 - others, axis=1).mean())
    return max(1 - distance / (DISAGREEMENT * max(scale, 1e-6)), 0.0)


def _measure(vector: NDArray[Any]) -> float:
    return float(numpy.linalg.norm(vector))
