"""The analyser for the demo world: it knows that world's frames, and refuses all others.

No FaceFusion, no download: faces come from the footage's `world.json`, embeddings and swaps from
the tiny networks in the package. Warp, masks and paste back are implemented here with OpenCV.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy
import onnxruntime
from numpy.typing import NDArray

from facefusion_finetune.demo.geometry import (
    CROP_CENTRE,
    CROP_SIZE,
    CROP_UNIT,
    GAZE,
    LID_RANGE,
    LIMITS,
    LOWER_LID,
    MEAN_POINTS,
    MOUTH_GAP,
    READER_FACTORS,
    TEMPLATE,
    TEMPLATE_POINTS,
)
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED, draw_person, draw_scene
from facefusion_finetune.demo.world import (
    WorldFace,
    hash_frame,
    read_footage,
    render_frames,
)
from facefusion_finetune.errors import FootageError, SwapperError
from facefusion_finetune.faces.protocol import (
    DetectedFace,
    FaceAttributes,
    FaceMasks,
    Mask,
    Matrix,
    Points,
    VisionFrame,
)
from facefusion_finetune.faces.warp import fit_similarity
from facefusion_finetune.swappers.catalogue import RecogniserOptions, SwapperOptions

ROUNDNESS = 0.70
"""Height over width of the average eye's opening, for one lid."""
CLOSED_EYE = 0.7
"""Above this `eye_close`, the irises are hidden."""
MOUTH_WIDTH = 2 * MEAN_POINTS[4][0]


def convert_factors(factors: NDArray[Any]) -> FaceAttributes:
    """The attributes of a picture, from (len(READER_FACTORS),) factors; both eyes open equally."""
    values = {name: float(value) for name, value in zip(READER_FACTORS, factors, strict=True)}
    closing, mouth_open = (
        float(numpy.clip(values[name], 0, 1)) for name in ("eye_close", "mouth_open")
    )
    opening = ROUNDNESS * (1 - LID_RANGE * closing + LOWER_LID) / 2
    gaze = (GAZE[0] * values["gaze_x"] / 2, GAZE[1] * ROUNDNESS * values["gaze_y"] / 2)
    return FaceAttributes(
        yaw=LIMITS["yaw"] * values["yaw"],
        pitch=LIMITS["pitch"] * values["pitch"],
        eye_opening=(opening, opening),
        mouth_opening=1.5 * MOUTH_GAP * mouth_open / MOUTH_WIDTH,
        gaze=(math.nan, math.nan) if closing > CLOSED_EYE else gaze,
    )


def draw_masks(height: int, width: int) -> FaceMasks:
    """Oval masks from the template's geometry; each (height, width), 0 to 1."""
    across = ((numpy.arange(width) + 0.5) / width - CROP_CENTRE[0])[None] / CROP_UNIT
    down = ((numpy.arange(height) + 0.5) / height - CROP_CENTRE[1])[:, None] / CROP_UNIT

    def oval(x: float, y: float, wide: float, high: float) -> Mask:
        radius = numpy.hypot((across - x) / wide, (down - y) / high)
        cover: Mask = ((1 - radius) / 0.15 + 0.5).clip(0, 1).astype(numpy.float32)
        return cover

    left, right, _, *corners = MEAN_POINTS
    mouth = (corners[0][0] + corners[1][0]) / 2, corners[0][1]
    ovals = [oval(*left, 0.28, 0.19), oval(*right, 0.28, 0.19), oval(*mouth, 0.40, 0.22)]
    return FaceMasks(
        face=oval(0.0, 0.14, 0.76, 0.92),
        visible=numpy.ones((height, width), dtype=numpy.float32),
        features=numpy.maximum.reduce(ovals),
    )


WEIGHTS = Path(__file__).parent / "weights"
SWAPPER = "demo"
SAME_PERSON_COSINE = 0.4
JUDGING_VECTORS = 16
"""Stored vectors reserved for judging; no model is trained with them."""
MEAN = 127.5
"""Mean and standard deviation of the inputs of recogniser, judge and reader."""


class DemoAnalyser:
    """Implements `FaceAnalyser` for footage written by `demo.world.write_footage`."""

    def __init__(self, footage: Sequence[Path], weights: Path = WEIGHTS) -> None:
        """Load the world.

        Args:
            footage: Folders, each with a `world.json`.
            weights: The folder of the networks and `others.npy`.

        Raises:
            FootageError: A folder is not demo footage.
        """
        self._weights = weights
        self._faces: dict[str, WorldFace] = {}
        for folder in footage:
            self._faces.update(read_footage(folder))

    @property
    def name(self) -> str:
        """Name of the analyser, with the package's version."""
        return f"demo {metadata.version('facefusion-finetune')}"

    @property
    def same_person_cosine(self) -> float:
        """Halfway between the cosines of frames of one drawn person and of two."""
        return SAME_PERSON_COSINE

    def is_frame_blocked(self, vision_frame: VisionFrame) -> bool:
        """False for this world's frames: they show no real person.

        Raises:
            FootageError: The frame is not from this world.
        """
        self.find_face(vision_frame)
        return False

    def find_face(self, vision_frame: VisionFrame) -> WorldFace:
        """What the world knows about a frame, for example to render a true swap onto it.

        Raises:
            FootageError: The frame is not from this world.
        """
        face = self._faces.get(hash_frame(vision_frame))
        if face is None:
            shape = " x ".join(str(side) for side in vision_frame.shape)
            raise FootageError(
                f"a frame of {shape}",
                "is not from the demo world, and the demo knows no other faces.",
                "Use unchanged frames from the folders that the analyser was created with.",
            )
        return face

    def detect_faces(self, vision_frame: VisionFrame) -> list[DetectedFace]:
        """The one face of a frame, at its known position.

        Raises:
            FootageError: The frame is not from this world.
        """
        face = self.find_face(vision_frame)
        five, many = face.locate()
        crop, _ = self.warp_face(vision_frame, five, TEMPLATE, (CROP_SIZE, CROP_SIZE))
        return [DetectedFace(face.bound(), five, many, 1.0, 1.0, self.embed(crop))]

    def embed(self, crop: VisionFrame) -> NDArray[numpy.float64]:
        """(512,): the embedding, not normalised, of an aligned `demo_64` crop."""
        return _run(self._recogniser, crop)

    def measure_attributes(
        self, vision_frame: VisionFrame, landmark_5: Points
    ) -> FaceAttributes | None:
        """The reader's attributes of the face at `landmark_5`; it always assumes a face."""
        crop, _ = self.warp_face(vision_frame, landmark_5, TEMPLATE, (CROP_SIZE, CROP_SIZE))
        return convert_factors(_run(self._reader, crop))

    @cached_property
    def _recogniser(self) -> Any:
        return _open(self.get_recogniser().path)

    @cached_property
    def _reader(self) -> Any:
        return _open(self._find("reader.onnx"))

    def warp_templates(self) -> Mapping[str, Points]:
        """The one template of the demo's swapper, recogniser and judge."""
        return {TEMPLATE: numpy.array(TEMPLATE_POINTS)}

    def warp_face(
        self, vision_frame: VisionFrame, landmark_5: Points, template: str, size: tuple[int, int]
    ) -> tuple[VisionFrame, Matrix]:
        """The aligned crop of `size` (width, height) and its affine matrix.

        Raises:
            KeyError: The demo has no such template.
        """
        goal = self.warp_templates()[template] * size
        matrix = fit_similarity(landmark_5[None], goal)[0]
        crop = cv2.warpAffine(
            vision_frame,
            matrix,
            size,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return crop, matrix

    def paste_back(
        self, vision_frame: VisionFrame, crop: NDArray[Any], mask: Mask, matrix: Matrix
    ) -> VisionFrame:
        """A copy of the frame with `crop` (BGR, 0 to 255) blended in by `mask`."""
        size = (vision_frame.shape[1], vision_frame.shape[0])
        back = cv2.invertAffineTransform(matrix)
        share = cv2.warpAffine(mask, back, size).clip(0, 1)[..., None]
        laid = cv2.warpAffine(
            crop.astype(numpy.float32), back, size, borderMode=cv2.BORDER_REPLICATE
        )
        mixed = vision_frame * (1 - share) + laid * share
        pasted: VisionFrame = mixed.round().clip(0, 255).astype(numpy.uint8)
        return pasted

    def create_paste_mask(self, crop: VisionFrame) -> Mask:
        """A box that is 1 inside and falls to 0 over the outer 15 % of each side."""
        height, width = crop.shape[:2]
        ramps = []
        for length in (height, width):
            rim = numpy.minimum(numpy.arange(length), numpy.arange(length)[::-1]) / (0.15 * length)
            rim = rim.clip(0, 1)
            ramps.append(rim * rim * (3 - 2 * rim))
        mask: Mask = numpy.outer(*ramps).astype(numpy.float32)
        return mask

    def create_masks(self, crop: VisionFrame) -> FaceMasks:
        """Masks from the template's geometry; in the demo, nothing occludes a face."""
        return draw_masks(*crop.shape[:2])

    def list_swappers(self) -> list[str]:
        """The demo's one swapper."""
        return [SWAPPER]

    def get_swapper(self, name: str, path: Path | None = None) -> SwapperOptions:
        """The demo's swapper, which has inswapper's layout.

        Args:
            name: `demo`.
            path: A file derived from it to use in its place.

        Raises:
            SwapperError: The name is not `demo`, or the file is missing.
        """
        if name != SWAPPER:
            raise SwapperError(
                name, "is not a swapper of the demo world.", f"Use {SWAPPER}, the only one."
            )
        return SwapperOptions(
            name=SWAPPER,
            path=path or self._find("swapper.onnx"),
            type="inswapper",
            template=TEMPLATE,
            size=(CROP_SIZE, CROP_SIZE),
            mean=(0.0, 0.0, 0.0),
            standard_deviation=(1.0, 1.0, 1.0),
            vendor="facefusion-finetune",
            licence="Apache-2.0",
        )

    def get_recogniser(self) -> RecogniserOptions:
        """The recogniser whose embeddings drive the demo's swapper; it ignores detail."""
        return self._describe("demo_recogniser", "recogniser.onnx")

    def get_judge(self) -> RecogniserOptions:
        """A second network, with different architecture and training; it tells siblings apart."""
        return self._describe("demo_judge", "judge.onnx")

    def sample_other_vectors(
        self, count: int, seed: int, for_judging: bool = False
    ) -> NDArray[numpy.float64]:
        """(count, 512): unit vectors of people the networks were trained on.

        Vectors for judging are separate from the rest. Repeats are spread evenly.
        """
        stored = numpy.load(self._find("others.npy")).astype(numpy.float64)
        stored /= numpy.linalg.norm(stored, axis=1, keepdims=True)
        stored = stored[-JUDGING_VECTORS:] if for_judging else stored[:-JUDGING_VECTORS]
        order = numpy.random.default_rng(seed).permutation(len(stored))
        chosen: NDArray[numpy.float64] = stored[numpy.resize(order, count)]
        return chosen

    def sample_other_pictures(
        self, count: int, seed: int, template: str, size: tuple[int, int]
    ) -> NDArray[numpy.uint8]:
        """(count, H, W, 3): different drawn people, each in a separate scene. The networks may have
        been trained on them.

        Raises:
            KeyError: The demo has no such template.
        """
        generator = numpy.random.default_rng(seed)
        pictures = []
        for person_seed in generator.choice(FIRST_UNSEEN_SEED, count, replace=False).tolist():
            person, scene = draw_person(person_seed), draw_scene(person_seed)
            (frame,) = render_frames(person, scene[None])
            five, _ = WorldFace("", person, scene).locate()
            pictures.append(self.warp_face(frame, five, template, size)[0])
        return numpy.stack(pictures)

    def _describe(self, name: str, file: str) -> RecogniserOptions:
        size = (CROP_SIZE, CROP_SIZE)
        return RecogniserOptions(name, self._find(file), TEMPLATE, size, MEAN, MEAN)

    def _find(self, file: str) -> Path:
        path = self._weights / file
        if not path.is_file():
            raise SwapperError(
                str(path),
                "is missing, and the demo needs it.",
                "Reinstall the package, or train the networks: python -m"
                " facefusion_finetune.demo.networks.train",
            )
        return path


def _open(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _run(session: Any, crop: VisionFrame) -> NDArray[numpy.float64]:
    """Output of one of the demo's networks for a crop; all of them take inputs of -1 to 1."""
    values = ((crop[..., ::-1] - MEAN) / MEAN).transpose(2, 0, 1)[None].astype(numpy.float32)
    made: NDArray[numpy.float64] = session.run(None, {"input": values})[0][0].astype(numpy.float64)
    return made
