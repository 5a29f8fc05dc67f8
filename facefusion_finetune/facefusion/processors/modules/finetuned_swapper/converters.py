"""The host's embedding converter, for a given source if the model's base needs one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facefusion import process_manager

from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import models
from facefusion_finetune.host import adapter
from facefusion_finetune.swappers.card import ModelCard

KEY = "embedding_converter"
"""Key of the file in the host's model set, and of its session in the pool."""


def provide_converter(card: ModelCard) -> Path:
    """The converter's file, verified; the host downloads it if it is missing.

    Args:
        card: Card of a model whose type needs a converter.

    Raises:
        FinetuneError: The host has no converter, or it cannot be downloaded.
    """
    entry = find_entry(card)
    if entry is None:
        raise models.create_error("no_converter", name=card.name, type=card.type)
    path = Path(entry["sources"][KEY]["path"])
    # the host's own check would end a run in progress, if called by a preview
    if not is_intact(path) and not process_manager.is_processing():
        adapter.provide_files({KEY: entry["hashes"][KEY]}, {KEY: entry["sources"][KEY]})
    if not is_intact(path):
        raise models.create_error("converter", name=card.name, path=path)
    return path


def find_entry(card: ModelCard) -> Mapping[str, Any] | None:
    """The host's swapper the model was tuned from, or any of its type: they share a converter."""
    model_set = adapter.get_face_swapper_set()
    base = model_set.get(card.base_name)
    for entry in [*([base] if base else []), *model_set.values()]:
        if entry["type"] == card.type and KEY in entry["sources"]:
            return entry
    return None


def is_intact(path: Path) -> bool:
    """Whether the file exists and matches the crc32 next to it."""
    try:
        models.check_digest(path)
    except FinetuneError:
        return False
    return True
