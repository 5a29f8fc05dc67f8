"""Types of the processor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from facefusion_finetune.swappers.card import ModelCard


class FinetunedSwapperInputs(TypedDict, total=False):
    """What `process_frame` is given; older hosts give one `target_vision_frame`."""

    reference_vision_frame: Any
    source_vision_frames: list[Any]
    target_vision_frames: list[Any]
    target_vision_frame: Any
    temp_vision_frame: Any
    temp_vision_mask: Any


@dataclass(frozen=True)
class ActiveModel:
    """A tuned model whose files were checked."""

    path: Path
    digest: str
    """crc32 of the file, 8 hex digits: another content is another session."""
    card: ModelCard = field(compare=False, repr=False)
    converter: Path | None = None
    """The host's embedding converter, where the source given needs one."""

    @property
    def name(self) -> str:
        """`NAME-VERSION`."""
        return self.path.stem
