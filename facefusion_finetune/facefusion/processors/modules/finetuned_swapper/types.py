"""Types of the processor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from facefusion_finetune.swappers.card import ModelCard


class FinetunedSwapperInputs(TypedDict, total=False):
    """Inputs of `process_frame`; older hosts pass a single `target_vision_frame`."""

    reference_vision_frame: Any
    source_vision_frames: list[Any]
    target_vision_frames: list[Any]
    target_vision_frame: Any
    temp_vision_frame: Any
    temp_vision_mask: Any


@dataclass(frozen=True)
class ActiveModel:
    """A tuned model with verified files."""

    path: Path
    digest: str
    """crc32 of the file, 8 hex digits, so that changed content gets a new session."""
    card: ModelCard = field(compare=False, repr=False)
    converter: Path | None = None
    """The host's embedding converter, if the given source needs one."""

    @property
    def name(self) -> str:
        """`NAME-VERSION`."""
        return self.path.stem
