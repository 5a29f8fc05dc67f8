"""What an extraction is asked for, tells meanwhile, and has found."""

from dataclasses import dataclass, field
from pathlib import Path

from facefusion_finetune.dataset import sources


@dataclass(frozen=True)
class ExtractSettings:
    """How footage is looked through."""

    references: tuple[Path, ...] = ()
    """Images of the person, where the footage shows several people; one for each look."""
    frames_per_second: float = sources.FRAMES_PER_SECOND
    """How densely videos are sampled at the most."""
    most_frames: int = sources.MOST_FRAMES
    """Taken of one video, spread over its shots."""
    keep_others: bool = False
    """Whether the faces of other people are kept, as footage of others for training."""


@dataclass(frozen=True)
class Progress:
    """Where an extraction stands."""

    stage: str
    """`checking` or `extracting`."""
    name: str
    """Of the file."""
    number: int
    """Of the file, from 1."""
    total: int
    """Files."""
    frames: int = 0
    """Looked at, of this file."""
    planned: int = 1
    """Frames to look at, of this file."""


@dataclass
class ExtractionResult:
    """What an extraction found."""

    frames: int = 0
    faces: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """Faces by why they were not kept; a face can have several faults."""
    others: int = 0
    """Other people seen often enough to count."""
    look_alikes: int = 0
    """Faces left out that look like the person, but not enough."""
    others_folder: Path | None = None
    """Where faces of other people were kept, if they were asked for."""
    known_sources: int = 0
    """Sources that were extracted before and add nothing."""
    resumed_frames: int = 0
    """Frames that an interrupted extraction had looked at before."""
    notes: list[str] = field(default_factory=list)
    """Footage that was left out, or used in part only, with the reason."""
    shots: int = 0
    total_kept: int = 0
    """Kept crops of the person, over all extractions."""
