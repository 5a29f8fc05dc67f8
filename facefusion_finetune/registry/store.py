"""Activates, deactivates, lists and verifies a person's models in a FaceFusion folder."""

import re
import zlib
from pathlib import Path

import onnx

from facefusion_finetune import home, temporary
from facefusion_finetune.damage import DamageError, open_regular, read_content
from facefusion_finetune.errors import ConsentError, RegistryError, SwapperError
from facefusion_finetune.host.models import (
    card_path,
    find_versions,
    hash_path,
    model_path,
    models_directory,
    own_files,
)
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import Person, confirm_person
from facefusion_finetune.people.work import lock_person
from facefusion_finetune.registry.bases import check_graph, restore_base
from facefusion_finetune.runs.run import Run, require_on_record
from facefusion_finetune.swappers import card as cards
from facefusion_finetune.swappers.card import ModelCard, decode_metadata, encode_card
from facefusion_finetune.swappers.files.bases import (
    bases_directory,
    check_base,
    remove_unused_bases,
)
from facefusion_finetune.swappers.files.metadata import read_links
from facefusion_finetune.swappers.files.modelfile import ModelFile, open_model

CHUNK = 1 << 20


def read_card(path: Path) -> ModelCard:
    """The card in a model file; the base of a linked one is not needed.

    Raises:
        RegistryError: The file cannot be read, or has no card.
    """
    return decode_metadata(read_links(path).metadata, str(path))


def read_model(path: Path) -> ModelFile:
    """Open a model and check its structure.

    Raises:
        RegistryError: The file is damaged, or its base is missing.
    """
    try:
        return open_model(path)
    except SwapperError as error:
        raise RegistryError(
            error.given, error.why, "Train, import or activate it again."
        ) from error


def activate(person: Person, run: Run, host: Path, force: bool = False) -> Path:
    """Copy a finished run's model to FaceFusion, replacing the person's other active models.

    Base, card and hash are written first and the model last, under a temporary name until it is
    complete, so FaceFusion never sees an incomplete model.

    Args:
        person: Has valid consent on record.
        run: A finished run of that person.
        host: The FaceFusion folder.
        force: Also activate a model that is not proven; its card says so.

    Returns:
        The model's path in the host.

    Raises:
        ConsentError: No valid consent is on record, or the person was removed.
        BusyError: Another command is changing what is held about the person.
        TrainingError: The run was removed.
        RegistryError: The run has no model, is not proven, needs a base that is missing, or cannot
            be written.
    """
    person.require_consent()
    with lock_person(person) as current:
        current.require_consent()
        require_on_record(run)
        person.sweep()
        return _activate(person, run, host, force)


def _activate(person: Person, run: Run, host: Path, force: bool) -> Path:
    card = _require_activable(run, force)
    directory = models_directory(host)
    path = model_path(directory, person.name, run.record.version)
    try:
        # Recorded first: an unrecorded model would survive the person's removal.
        elsewhere.remember_host(person.directory, host)
        directory.mkdir(parents=True, exist_ok=True)
        _place_bases(run, card, host)
        read_model(run.model_path)
        home.write_text(card_path(path), encode_card(card))
        home.write_text(hash_path(path), f"{_checksum(run.model_path):08x}")
        home.copy_whole(run.model_path, path)
        # Again, as the last other model of this base may have been deactivated in the meantime.
        _place_bases(run, card, host)
        confirm_person(person).require_consent()
    except BaseException as error:
        # Without consent, an earlier copy of the same version must not stay either.
        if isinstance(error, ConsentError) or not _is_whole(path):
            for file in (path, hash_path(path), card_path(path)):
                file.unlink(missing_ok=True)
        remove_unused_bases(directory)
        if not isinstance(error, OSError):
            raise
        raise RegistryError(
            f"model {run.reference}",
            f"it cannot be written to {directory} ({error.strerror or error}).",
            "Free some space or grant access, then activate it again. No incomplete files were"
            " left, and the base is unchanged.",
        ) from error
    _deactivate(person, host, None, keep=run.record.version)
    return path


def require_finished(run: Run) -> None:
    """Check that a run has a model.

    Raises:
        RegistryError: Its training is not finished.
    """
    if not run.is_finished:
        raise RegistryError(
            f"model {run.reference}",
            "its training is not finished, so there is no model yet.",
            f"Resume with: facefusion-finetune train {run.record.person} --resume.",
        )


def _require_activable(run: Run, force: bool) -> ModelCard:
    require_finished(run)
    card = read_card(run.model_path)
    if card.judge_result.get("proven") or force:
        return card
    if run.is_imported:
        raise RegistryError(
            f"model {run.reference}",
            "it was trained and judged on another machine, so it is unproven here.",
            "To use it anyway, labelled unproven, add --force.",
        )
    raise RegistryError(
        f"model {run.reference}",
        "it is not proven to be better on held-out footage (verdict:"
        f" {card.judge_result.get('verdict')}; independent judge:"
        f" {card.judge_result.get('judge') or 'none'}).",
        f"See {run.report_path}. To use it anyway, labelled unproven, add --force.",
    )


def _place_bases(run: Run, card: ModelCard, host: Path) -> None:
    """Provide a linked model's base next to the run's model and next to the active ones."""
    directory = models_directory(host)
    folders = [bases_directory(), run.directory, directory, directory.parent]
    restore_base(run.model_path, card, run.directory, folders, hard_links=True)
    restore_base(run.model_path, card, directory, folders)


def deactivate(
    person: Person, host: Path, version: int | None = None, keep: int | None = None
) -> list[Path]:
    """Remove a person's models from a FaceFusion folder; the runs are kept.

    Models of which an interrupted command left only some files are removed as well.

    Args:
        person: The person.
        host: The FaceFusion folder.
        version: Remove only this version; if None, all.
        keep: Version to keep.

    Returns:
        The removed files, including bases that are no longer needed.

    Raises:
        BusyError: Another command is changing what is held about the person.
        ConsentError: The person was removed.
    """
    with lock_person(person):
        return _deactivate(person, host, version, keep)


def _deactivate(person: Person, host: Path, version: int | None, keep: int | None) -> list[Path]:
    directory = models_directory(host)
    removed = []
    for number in find_versions(directory, person.name):
        if number == keep or version not in (None, number):
            continue
        path = model_path(directory, person.name, number)
        # The model first: without it, the host no longer offers the person.
        for file in (path, hash_path(path), card_path(path)):
            if file.is_symlink() or file.exists():
                file.unlink(missing_ok=True)
                removed.append(file)
    removed += temporary.sweep_folder(directory, own_files(person.name).fullmatch)
    return removed + remove_unused_bases(directory)


def verify(path: Path) -> ModelCard:
    """Verify an active model: checksum, base, graph, and that the card matches the file.

    Raises:
        RegistryError: A check fails.
    """
    if not path.is_file() or f"{_checksum(path):08x}" != _read_hash(path):
        raise RegistryError(
            str(path),
            "the file does not match its .hash, so it is damaged or incomplete.",
            "Activate the model again.",
        )
    card = check_cards(path)
    check_base(path)
    _check_graph(read_model(path), card)
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise RegistryError(
            str(path), f"it is not a valid ONNX file ({error}).", "Activate the model again."
        ) from error
    return card


def _is_whole(path: Path) -> bool:
    """Whether an active model's file, card and hash are those of one activation."""
    try:
        check_cards(path)
        return f"{_checksum(path):08x}" == _read_hash(path)
    except (RegistryError, OSError):
        return False


def check_cards(path: Path) -> ModelCard:
    """Quick check of an active model: both cards and the hash are readable and consistent.

    Raises:
        RegistryError: One cannot be read, or the card next to the model is another model's.
    """
    if not path.is_file():
        raise RegistryError(str(path), "it is not a file.", "Activate the model again.")
    if not re.fullmatch("[0-9a-f]{8}", _read_hash(path).strip()):
        raise RegistryError(str(hash_path(path)), "it has no hash.", "Activate the model again.")
    card = read_card(path)
    if card != cards.read_card(card_path(path)) or path != model_path(
        path.parent, card.person, card.version
    ):
        raise RegistryError(
            str(path), "the card next to it is another model's.", "Activate the model again."
        )
    return card


def _read_hash(path: Path) -> str:
    """Contents of the `.hash` next to a model; empty if it cannot be read."""
    try:
        return read_content(hash_path(path)).decode("ascii", errors="replace")
    except (OSError, DamageError):
        return ""


def _check_graph(model: ModelFile, card: ModelCard) -> None:
    try:
        check_graph(model, card)
    except SwapperError as error:
        raise RegistryError(error.given, error.why, "Activate the model again.") from error


def known_hosts(person: Person) -> list[Path]:
    """FaceFusion folders in which a model of the person was ever activated.

    Raises:
        RegistryError: The record file is damaged.
    """
    return elsewhere.list_hosts(person.directory)


def list_model_files(name: str, host: Path) -> list[Path]:
    """All files of a person's models in a FaceFusion folder, models first.

    They include what an interrupted command left.

    Args:
        name: The person's name.
        host: The FaceFusion folder.
    """
    own = own_files(name)

    def is_own(file: str) -> bool:
        if file.startswith(".") and file.endswith(".part"):
            file = file[1:].rsplit(".", 2)[0]
        return own.fullmatch(file) is not None

    files = [
        path
        for path in models_directory(host).glob("*")
        if is_own(path.name) and (path.is_symlink() or not path.is_dir())
    ]
    return sorted(files, key=lambda path: (path.suffix != ".onnx", path))


def _checksum(path: Path) -> int:
    checksum = 0
    with open_regular(path) as file:
        while chunk := file.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
