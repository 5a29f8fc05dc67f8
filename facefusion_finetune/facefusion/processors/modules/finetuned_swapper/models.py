"""Finds and checks the model file that the user selected.

A damaged file in the host's inference pool ends the whole process, and the host's own download
check deletes it. So files are checked here, and never deleted.
"""

import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import facefusion.face_helper
import onnx

from facefusion_finetune.damage import open_regular, read_content
from facefusion_finetune.errors import FinetuneError, RegistryError
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import choices
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper.types import ActiveModel
from facefusion_finetune.host import adapter
from facefusion_finetune.host.models import card_path, find_active, hash_path, models_directory
from facefusion_finetune.people.profile import split_reference
from facefusion_finetune.swappers.card import ModelCard, read_card
from facefusion_finetune.swappers.catalogue import FAMILIES
from facefusion_finetune.swappers.files.bases import check_base
from facefusion_finetune.swappers.source import restore_source

CHUNK_SIZE = 1 << 20


def create_error(key: str, **values: object) -> FinetuneError:
    """Create an error with the texts of `locales`."""
    given, why, todo = (
        adapter.translate(f"errors.{key}.{part}", __package__).format(**values)
        for part in ("given", "why", "todo")
    )
    return RegistryError(given, why, todo)


def load_model(reference: str | None) -> ActiveModel:
    """Find and check a model.

    Args:
        reference: NAME (its highest active version), NAME@VERSION, or None if none is selected.

    Raises:
        FinetuneError: It is None, not active, damaged, or of an unsupported type.
    """
    path = find_model(reference)
    digest = check_digest(path)
    try:
        card = read_card(card_path(path))
        check_card(card, path)
        # parses the whole file, so that an unreadable one never gets to the pool
        emap = read_static_emap(path, digest)
        check_base(path)
        if emap is None and FAMILIES[card.type].needs_emap:
            raise create_error("no_emap", name=path.stem, type=card.type)
        restore_source(card, emap)
    except FinetuneError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise create_error("unreadable", name=path.stem, reason=reason) from error
    return ActiveModel(path, digest, card)


def find_model(reference: str | None) -> Path:
    """The model file, unchecked.

    Raises:
        FinetuneError: It is None, the name is invalid, or no such model is active.
    """
    if not reference:
        raise create_error("no_model")
    person, version = split_reference(reference)
    active = find_active(models_directory(adapter.HOST_PATH))
    versions = active.get(person, {})
    if version is None and versions:
        version = max(versions)
    if version is None or version not in versions:
        names = [f"{name}@{number}" for name in sorted(active) for number in sorted(active[name])]
        raise create_error("unknown_model", reference=reference, active=", ".join(names) or "none")
    return versions[version]


def check_digest(path: Path) -> str:
    """Check the file's crc32 against the one recorded at activation.

    Raises:
        FinetuneError: A file cannot be read, or the crc32 differs.
    """
    try:
        expected = read_content(hash_path(path)).decode("utf-8").strip()
        stat = path.stat()
        digest = calculate_static_digest(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError) as error:
        raise create_error("unreadable", name=path.stem, reason=error) from error
    if digest != expected:
        raise create_error("wrong_hash", name=path.stem, digest=digest, expected=expected)
    return digest


@lru_cache(maxsize=64)
def calculate_static_digest(path: Path, _modified: int, _size: int) -> str:
    """crc32 as 8 hex digits; recomputed only if the file's time or size changed."""
    crc = 0
    with open_regular(path) as file:
        while chunk := file.read(CHUNK_SIZE):
            crc = zlib.crc32(chunk, crc)
    return f"{crc:08x}"


@lru_cache(maxsize=8)
def read_static_emap(path: Path, _digest: str) -> Any | None:
    """Parse a model file, and return its last initializer if that is a 512 x 512 matrix.

    Args:
        path: The model file.
        _digest: Its crc32, so that changed content is read again.

    Raises:
        DecodeError: It is not a model.
    """
    model = onnx.load(str(path), load_external_data=False)
    last = model.graph.initializer[-1] if model.graph.initializer else None
    if last is None or tuple(last.dims) != (512, 512):
        return None
    if last.data_location == onnx.TensorProto.EXTERNAL:
        # in this package's files, the matrix is always in the file itself
        return None
    return onnx.numpy_helper.to_array(last)


def check_card(card: ModelCard, path: Path) -> None:
    """Check that this version of the package and of the host can run the model.

    Raises:
        FinetuneError: Its type or its warp template is unknown.
    """
    if card.type not in choices.finetuned_swapper_types:
        types = ", ".join(choices.finetuned_swapper_types)
        raise create_error("unsupported_type", name=path.stem, type=card.type, types=types)
    picture = FAMILIES[card.type].picture
    for template in (card.template, *([picture.template] if picture else [])):
        if template not in facefusion.face_helper.WARP_TEMPLATE_SET:
            raise create_error("unsupported_template", name=path.stem, template=template)
