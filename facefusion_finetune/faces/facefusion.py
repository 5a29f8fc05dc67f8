"""FaceFusion's own detection, alignment, masks and paste back: training sees what it feeds."""

import importlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import HostError, SwapperError
from facefusion_finetune.faces.attributes import find_nearest, measure_landmarks
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
from facefusion_finetune.host.locate import Host
from facefusion_finetune.host.session import import_adapter, initialise_state
from facefusion_finetune.swappers.catalogue import (
    FAMILIES,
    RecogniserOptions,
    SwapperOptions,
    create_options,
)

FEATURE_REGIONS = ("left-eye", "right-eye", "mouth", "upper-lip", "lower-lip")


class FaceFusionAnalyser:
    """Implements `faces.protocol.FaceAnalyser` over a FaceFusion folder.

    FaceFusion is imported into this process and keeps its settings in its own modules, so there can
    be only one such analyser, for one folder, per process.

    Args:
        host: The FaceFusion to use.
        overrides: Settings by their name in FaceFusion's state, for example
            `{"face_detector_model": "yunet"}`; otherwise its defaults and facefusion.ini apply.

    Raises:
        HostError: FaceFusion cannot be imported, refuses its settings, or lacks models.
        UsageError: An override is unknown or not accepted.
    """

    def __init__(self, host: Host, overrides: Mapping[str, Any] | None = None) -> None:
        self._host = host
        self._adapter = import_adapter(host)
        self._adapter.disable_thread_spinning()
        initialise_state(host, overrides or {})
        self._state = importlib.import_module("facefusion.state_manager")
        self._face_helper = importlib.import_module("facefusion.face_helper")
        self._face_masker = importlib.import_module("facefusion.face_masker")
        self._check_models()

    @property
    def name(self) -> str:
        """For example `facefusion 3.8.1`."""
        return self._host.name

    @property
    def same_person_cosine(self) -> float:
        """From FaceFusion's own setting `reference_face_distance`, which is half of 1 - cosine."""
        return 1 - 2 * float(self._state.get_item("reference_face_distance"))

    def is_frame_blocked(self, vision_frame: VisionFrame) -> bool:
        """Whether FaceFusion's content check refuses the picture."""
        return bool(self._adapter.content_analyser.analyse_frame(vision_frame))

    def detect_faces(self, vision_frame: VisionFrame) -> list[DetectedFace]:
        """All faces of a frame, best detector score first."""
        faces = [_convert_face(face) for face in self._adapter.detect_faces(vision_frame)]
        return sorted(faces, key=lambda face: face.detector_score, reverse=True)

    def measure_attributes(
        self, vision_frame: VisionFrame, landmark_5: Points
    ) -> FaceAttributes | None:
        """Pose, eyes, mouth and gaze of the face at `landmark_5`; None if there is none nearby."""
        face = find_nearest(self.detect_faces(vision_frame), landmark_5)
        return measure_landmarks(vision_frame, face.landmark_68) if face else None

    def warp_templates(self) -> Mapping[str, Points]:
        """Every warp template's five landmarks in the unit square, by name."""
        template_set = self._face_helper.WARP_TEMPLATE_SET
        return {name: numpy.array(points, numpy.float64) for name, points in template_set.items()}

    def warp_face(
        self, vision_frame: VisionFrame, landmark_5: Points, template: str, size: tuple[int, int]
    ) -> tuple[VisionFrame, Matrix]:
        """The aligned crop of `size` (width, height) and its 2 x 3 affine matrix."""
        crop_vision_frame, affine_matrix = self._face_helper.warp_face_by_face_landmark_5(
            vision_frame, landmark_5, template, size
        )
        return crop_vision_frame, affine_matrix

    def paste_back(
        self, vision_frame: VisionFrame, crop: NDArray[Any], mask: Mask, matrix: Matrix
    ) -> VisionFrame:
        """A copy of the frame with `crop` (BGR, 0 to 255) blended in by `mask`."""
        pasted: VisionFrame = self._face_helper.paste_back(vision_frame, crop, mask, matrix)
        return pasted

    def create_paste_mask(self, crop: VisionFrame) -> Mask:
        """The mask of the selected face mask types, except `area`, which needs landmarks."""
        mask_types = self._state.get_item("face_mask_types")
        masks = []
        if "occlusion" in mask_types:
            masks.append(self._face_masker.create_occlusion_mask(crop))
        if "region" in mask_types:
            regions = self._state.get_item("face_mask_regions")
            masks.append(self._face_masker.create_region_mask(crop, regions))
        if "box" in mask_types or not masks:
            blur = self._state.get_item("face_mask_blur")
            padding = self._state.get_item("face_mask_padding")
            masks.append(self._face_masker.create_box_mask(crop, blur, padding))
        paste_mask: Mask = numpy.minimum.reduce(masks).clip(0, 1)
        return paste_mask

    def create_masks(self, crop: VisionFrame) -> FaceMasks:
        """Face, occlusion and feature masks of an aligned crop, by the selected models."""
        scores, classes = self._adapter.parse_face(crop)
        highest = scores.max(axis=0)
        regions = {name: scores[number] >= highest for name, number in classes.items()}
        height, width = crop.shape[:2]

        def join(names: Iterable[str]) -> Mask:
            joined = numpy.logical_or.reduce([regions[name] for name in names])
            return numpy.asarray(cv2.resize(joined.astype(numpy.float32), (width, height)))

        return FaceMasks(
            face=_soften(join(regions)),
            visible=self._face_masker.create_occlusion_mask(crop),
            features=_soften(join(FEATURE_REGIONS)),
            glasses=join(["glasses"]),
        )

    def list_swappers(self) -> list[str]:
        """FaceFusion's face swappers of a supported type."""
        return sorted(
            name
            for name, entry in self._adapter.get_face_swapper_set().items()
            if entry["type"] in FAMILIES
        )

    def get_swapper(self, name: str, path: Path | None = None) -> SwapperOptions:
        """The base swapper of that name; FaceFusion downloads missing files.

        Args:
            name: FaceFusion's name for it.
            path: A file derived from it to use in its place; its own file is then not needed.

        Raises:
            SwapperError: There is no such swapper, its type is unknown, or one of its files is
                missing or damaged.
        """
        model_set = self._adapter.get_face_swapper_set()
        if name not in model_set:
            raise SwapperError(
                f"base {name!r}",
                "FaceFusion has no such face swapper.",
                f"Choose one of: {', '.join(self.list_swappers())}.",
            )
        entry = model_set[name]
        options = create_options(name, entry)
        files = {key for key in entry["sources"] if path is None or key != "face_swapper"}
        _provide_files(name, *(_pick(entry[part], files) for part in ("hashes", "sources")))
        return options if path is None else replace(options, path=path)

    def get_recogniser(self) -> RecogniserOptions:
        """The recogniser whose embeddings drive FaceFusion's swappers."""
        module = importlib.import_module("facefusion.face_recognizer")
        options = module.get_model_options()
        width, height = options.get("size")
        path = Path(options.get("sources").get("face_recognizer").get("path"))
        return RecogniserOptions(
            name=path.stem,
            path=path,
            template=options.get("template"),
            size=(width, height),
            mean=127.5,
            standard_deviation=127.5,
        )

    def get_judge(self) -> RecogniserOptions | None:
        """None: FaceFusion has only one recogniser."""
        return None

    def sample_other_vectors(
        self, count: int, seed: int, for_judging: bool = False
    ) -> NDArray[numpy.float64]:
        """(count, 512): random directions; see `faces.vectors`."""
        return sample_directions(count, seed, for_judging)

    def sample_other_pictures(
        self, count: int, seed: int, template: str, size: tuple[int, int]
    ) -> NDArray[numpy.uint8] | None:
        """None: FaceFusion includes no pictures of people."""
        return None

    def _check_models(self) -> None:
        """Run the checks that FaceFusion itself runs before processing frames."""
        if not importlib.import_module("facefusion.core").common_pre_check():
            raise HostError(
                str(self._host.path),
                "FaceFusion's own check failed: its content check was changed, or its models"
                " are missing and cannot be downloaded.",
                "Restore FaceFusion's files (git status), or connect to the network once.",
            )
        if not self._adapter.check_common_modules():
            raise HostError(
                str(self._host.path),
                "models that FaceFusion needs to find faces are missing or damaged and could not be"
                " downloaded (see the lines above).",
                "Connect to the network once, or run `facefusion force-download`.",
            )


def _soften(mask: NDArray[numpy.float32]) -> Mask:
    """A mask with a soft inner edge, like FaceFusion's own."""
    blurred = cv2.GaussianBlur(mask, (0, 0), 5).clip(0.5, 1)
    return numpy.asarray((blurred - 0.5) * 2, dtype=numpy.float32)


def _convert_face(face: Any) -> DetectedFace:
    return DetectedFace(
        bounding_box=numpy.asarray(face.bounding_box, numpy.float64),
        landmark_5=numpy.asarray(face.landmark_set["5/68"], numpy.float64),
        landmark_68=numpy.asarray(face.landmark_set["68"], numpy.float64),
        detector_score=float(face.score_set["detector"]),
        landmarker_score=float(face.score_set["landmarker"]),
        embedding=numpy.asarray(face.embedding, numpy.float64),
    )


def _pick(files: Mapping[str, Any], keys: Set[str]) -> dict[str, Any]:
    return {key: file for key, file in files.items() if key in keys}


def _provide_files(name: str, hashes: Mapping[str, Any], sources: Mapping[str, Any]) -> None:
    """Let FaceFusion download missing files; damaged files are reported, never deleted here."""
    download = importlib.import_module("facefusion.download")
    hash_helper = importlib.import_module("facefusion.hash_helper")
    paths = [Path(source["path"]) for source in sources.values()]
    if not all(path.is_file() and path.with_suffix(".hash").is_file() for path in paths):
        download.conditional_download_hashes(hashes)
        missing = {key: source for key, source in sources.items() if not _exists(source)}
        if missing:
            download.conditional_download_sources(missing)
        importlib.import_module("facefusion.process_manager").end()
    for path in paths:
        if not path.is_file():
            raise SwapperError(
                f"base {name!r}",
                f"its file {path} is missing and could not be downloaded.",
                "Connect to the network, or copy the file and its .hash there.",
            )
        if not hash_helper.validate_hash(str(path)):
            raise SwapperError(
                f"base {name!r}",
                f"its file {path} is damaged: its crc32 does not match the .hash next to it.",
                "Delete it, so that FaceFusion downloads it again.",
            )


def _exists(source: Mapping[str, str]) -> bool:
    return Path(source["path"]).is_file()
