"""`crops.jsonl`: one line for every face that was found, and why it was kept or rejected."""

import base64
import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
)

from facefusion_finetune import damage, home
from facefusion_finetune.damage import DamageError, explain
from facefusion_finetune.errors import DatasetError
from facefusion_finetune.people.profile import Person

Number = Annotated[float, Field(ge=-1e6, le=1e6)]
"""Larger than any picture's side, angle or share."""
Count = Annotated[int, Field(ge=0, le=10**9)]
Point = tuple[Number, Number]


class CropMeasures(BaseModel):
    """Measured once, when a face is found. Angles in degrees; None for what cannot be measured."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    size: Number
    """Shorter side of the bounding box, in pixels of the frame."""
    sharpness: Number
    """0 (blurred) to 1 (sharp) at the face's own resolution, whatever its size."""
    brightness: Number
    """Mean luma inside the face, 0 to 255."""
    contrast: Number
    """Standard deviation of the luma inside the face, in grey levels."""
    dark: Number
    """Share of the face that is black, 0 to 1."""
    bright: Number
    """Share of the face that is overexposed, 0 to 1."""
    visible: Number
    """Share of the face that is in the frame and not occluded, 0 to 1."""
    outside: Number | None = None
    """Share of the aligned crop that lies outside the frame, 0 to 1; None if it was not measured,
    as in older records."""
    face_outside: Number | None = None
    """Share of the face that lies outside the frame; None likewise."""
    yaw: Number | None
    """0 faces the camera; positive is turned to the picture's right."""
    pitch: Number | None
    """Positive is down."""
    roll: Number
    """Angle of the line of the eyes; 0 is upright, positive is clockwise in the picture."""
    eye_opening: tuple[Number | None, Number | None]
    """Eyes on the picture's left and right: distance of the lids over the eye's width."""
    mouth_opening: Number | None
    """Distance of the lips' inner edges over the mouth's width; 0 is closed."""
    light: tuple[Number, Number]
    """Direction of the light, right and down in the picture: difference of the luma of the face's
    halves over its mean. 0 is even light, 0.3 a strong side light."""
    glasses: Number | None
    """Share of the face behind glasses, 0 to 1; None if the analyser cannot tell."""


FINGERPRINT_SIDE = 32
"""Width and height of a fingerprint, in pixels."""


def _check_array(value: Any) -> NDArray[numpy.generic]:
    if not isinstance(value, numpy.ndarray):
        raise ValueError("neither an array nor base64 text")
    return value


def _decode_vector(value: Any) -> NDArray[numpy.float32]:
    if isinstance(value, str):
        value = numpy.frombuffer(base64.b64decode(value), dtype="<f4")
    vector = numpy.asarray(_check_array(value), dtype=numpy.float32)
    if vector.shape != (512,) or not numpy.isfinite(vector).all():
        raise ValueError("not 512 finite values")
    return vector


def _encode_vector(vector: NDArray[numpy.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


Vector = Annotated[
    NDArray[numpy.float32], PlainValidator(_decode_vector), PlainSerializer(_encode_vector)
]


def _decode_fingerprint(value: Any) -> NDArray[numpy.uint8]:
    if isinstance(value, str):
        value = numpy.frombuffer(base64.b64decode(value), dtype=numpy.uint8)
    fingerprint = numpy.asarray(_check_array(value), dtype=numpy.uint8).reshape(-1)
    if fingerprint.size != FINGERPRINT_SIDE**2:
        raise ValueError(f"not {FINGERPRINT_SIDE} x {FINGERPRINT_SIDE} bytes")
    return fingerprint.reshape(FINGERPRINT_SIDE, FINGERPRINT_SIDE)


def _encode_fingerprint(fingerprint: NDArray[numpy.uint8]) -> str:
    return base64.b64encode(fingerprint.tobytes()).decode("ascii")


Fingerprint = Annotated[
    NDArray[numpy.uint8],
    PlainValidator(_decode_fingerprint),
    PlainSerializer(_encode_fingerprint),
]


class CropRecord(BaseModel):
    """One face of one frame. Positions are in pixels of the whole frame."""

    # Unknown entries are ignored, so that crops of other versions of the package can be read.
    model_config = ConfigDict(
        extra="ignore", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )

    id: Annotated[str, Field(pattern="^[0-9A-Za-z_-]{1,64}$")]
    """16 hex digits from the source's digest, the time and the face; becomes a file name."""
    source: str
    """Absolute path of the file, links resolved; undecodable bytes are written as `\\xNN`."""
    source_sha256: str
    frame: Count
    """Index of the sample within the source."""
    time: Annotated[float, Field(ge=-1e9, le=1e9)] | None
    """Seconds from the start of a video."""
    shot: str
    """Frames with the same value were taken in one shot."""
    track: str = ""
    """Faces with the same value follow each other in one shot and show one person."""
    offset: tuple[Count, Count]
    """x, y of the cut-out's first pixel."""
    size: tuple[Count, Count]
    """Width and height of the cut-out."""
    bounding_box: tuple[Number, Number, Number, Number]
    landmark_5: Annotated[list[Point], Field(min_length=5, max_length=5)]
    landmark_68: Annotated[list[Point], Field(max_length=68)]
    detector_score: Number
    landmarker_score: Number
    embedding: Vector | None
    """(512,), not normalised; in the file, base64 of little-endian float32. None for a face that
    is not the person's: no one else's biometric data is kept."""
    measures: CropMeasures | None = None
    """Of the face's picture. None for other people's faces."""
    faults: list[str] = []
    """The automatic reasons for rejection, in words; empty for a good crop."""
    choice: Literal["rejected", "restored"] | None = None
    """The user's decision, which overrides the faults."""
    kept: bool
    reason: str
    """Why it was kept or rejected, in words."""
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """Of the cut-out's PNG; empty if none was written."""
    fingerprint: Fingerprint | None = None
    """Of the aligned picture; see `duplicates`. None for other people's faces."""

    @property
    def is_person(self) -> bool:
        """Whether the face is the person's; for others, only their presence is recorded."""
        return self.embedding is not None

    def decide(
        self, faults: list[str], choice: Literal["rejected", "restored"] | None
    ) -> "CropRecord":
        """The record with these faults and this user's choice."""
        kept = choice == "restored" or (not faults and choice is None)
        reason = ", ".join(faults) or "the person"
        if choice is not None:
            reason = f"{choice} by hand" + (f" ({reason})" if faults else "")
        changes = {"faults": faults, "choice": choice, "kept": kept, "reason": reason}
        return self.model_copy(update=changes)

    def landmarks_in_cutout(self) -> NDArray[numpy.float64]:
        """(5, 2): the five landmarks in pixels of the cut-out."""
        points = numpy.array(self.landmark_5, dtype=numpy.float64)
        points -= self.offset
        return points


def stack_embeddings(records: list[CropRecord]) -> NDArray[numpy.float32]:
    """(n, 512): the embeddings of the records that have one."""
    vectors = [record.embedding for record in records if record.embedding is not None]
    return numpy.stack(vectors) if vectors else numpy.empty((0, 512), dtype=numpy.float32)


def crops_directory(person: Person) -> Path:
    """The folder of a person's cut-outs."""
    return person.directory / home.CROPS_FOLDER


def cutout_path(person: Person, record_id: str) -> Path:
    """The lossless cut-out of the frame, BGR PNG."""
    return crops_directory(person) / cutout_name(record_id)


def masks_path(person: Person, record_id: str) -> Path:
    """Masks in the cut-out's pixels: a PNG whose R, G, B are face, visible, features."""
    return crops_directory(person) / masks_name(record_id)


def cutout_name(record_id: str) -> str:
    """File name of a cut-out."""
    return f"{record_id}.png"


def masks_name(record_id: str) -> str:
    """File name of a cut-out's masks."""
    return f"{record_id}.masks.png"


def file_names(record_id: str) -> tuple[str, str]:
    """File names of a cut-out and of its masks."""
    return cutout_name(record_id), masks_name(record_id)


def read_manifest(person: Person) -> list[CropRecord]:
    """All records of a person, in the order they were found; empty before the first extraction.

    Raises:
        DatasetError: A line is damaged.
    """
    return read_records(person.directory / home.MANIFEST_FILE)


def read_records(path: Path) -> list[CropRecord]:
    """The records of a file; empty if there is no file. Errors as in `read_manifest`."""
    records = []
    for number, line in enumerate(read_lines(path, "extract the footage again"), 1):
        try:
            records.append(CropRecord.model_validate_json(line))
        except ValidationError as error:
            raise DatasetError(
                f"{path}, line {number}",
                f"the record is damaged ({explain(error)}).",
                "Delete the line to continue without that crop, or extract the footage again.",
            ) from error
    return records


def is_record(line: bytes) -> bool:
    """Whether a line is a readable record."""
    try:
        CropRecord.model_validate_json(line)
    except ValidationError:
        return False
    return True


def read_lines(path: Path, remedy: str) -> list[bytes]:
    """The lines of a file of records; empty if there is no file.

    Args:
        path: The file.
        remedy: What to do without the file, for the error message.

    Raises:
        DatasetError: The file cannot be read.
    """
    try:
        return damage.read_lines(path)
    except FileNotFoundError:
        return []
    except DamageError as error:
        raise DatasetError(
            str(path), f"it cannot be read ({error}).", f"Move it away and {remedy}."
        ) from error


def write_manifest(person: Person, records: list[CropRecord]) -> None:
    """Replace the manifest atomically."""
    write_records(person.directory / home.MANIFEST_FILE, records)


def write_records(path: Path, records: list[CropRecord]) -> None:
    """Write records to a file atomically."""
    home.write_text(path, "".join(record.model_dump_json() + "\n" for record in records))


def digest_dataset(records: list[CropRecord]) -> str:
    """sha256 over the kept crops' ids and pixels: identifies the data a model was trained on."""
    kept = sorted(f"{record.id} {record.sha256}" for record in records if record.kept)
    return hashlib.sha256("\n".join(kept).encode("ascii")).hexdigest()
