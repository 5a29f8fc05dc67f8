"""Activate, deactivate, list and verify a person's models in a FaceFusion folder."""

import re
import zlib
from pathlib import Path

import onnx

from facefusion_finetune import home
from facefusion_finetune.errors import RegistryError, SwapperError
from facefusion_finetune.host.models import (
    card_path,
    find_models,
    hash_path,
    model_path,
    models_directory,
)
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import Person
from facefusion_finetune.registry.bases import check_graph, restore_base
from facefusion_finetune.runs.run import Run
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
    """The card inside a model file; the base of a linked one need not be there.

    Raises:
        RegistryError: The file cannot be read, or carries no card.
    """
    return decode_metadata(read_links(path).metadata, str(path))


def read_model(path: Path) -> ModelFile:
    """Open a model and check its structure.

    Raises:
        RegistryError: It is damaged, or its base is missing.
    """
    try:
        return open_model(path)
    except SwapperError as error:
        raise RegistryError(
            error.given, error.why, "Train, import or activate it again."
        ) from error


def activate(person: Person, run: Run, host: Path, force: bool = False) -> Path:
    """Put a finished run's model where FaceFusion finds it, in place of the person's other ones.

    Base, card and hash are written first and the model last, under a temporary name until it is
    whole: FaceFusion sees a model only when all of it is there.

    Args:
        person: With valid consent on record.
        run: A finished run of that person.
        host: The FaceFusion folder.
        force: Activate a model that did not prove to be better; its card says `unproven`.

    Returns:
        The model's path in the host.

    Raises:
        ConsentError: No valid consent is on record.
        RegistryError: The run has no model, did not prove to be better, needs a base that is
            nowhere, or cannot be written.
    """
    person.require_consent()
    card = _require_activable(run, force)
    directory = models_directory(host)
    path = model_path(directory, person.name, run.record.version)
    fresh = [
        file
        for file in (card_path(path), hash_path(path), path)
        if not path.exists() or not file.exists()
    ]
    try:
        # First of all: a model that nobody remembers would survive the person's removal.
        elsewhere.remember_host(person.directory, host)
        directory.mkdir(parents=True, exist_ok=True)
        _place_bases(run, card, host)
        read_model(run.model_path)
        home.write_text(card_path(path), encode_card(card))
        home.write_text(hash_path(path), f"{_checksum(run.model_path):08x}")
        home.copy_whole(run.model_path, path)
        # Once more: somebody may have deactivated the last other model of this base meanwhile.
        _place_bases(run, card, host)
    except BaseException as error:
        for file in fresh:
            file.unlink(missing_ok=True)
        remove_unused_bases(directory)
        if not isinstance(error, OSError):
            raise
        raise RegistryError(
            f"model {run.reference}",
            f"it cannot be written to {directory} ({error.strerror or error}).",
            "Make room or grant access, then activate again. Nothing half-written was left, and"
            " the base is untouched.",
        ) from error
    deactivate(person, host, keep=run.record.version)
    return path


def require_finished(run: Run) -> None:
    """Make sure that a run has a model.

    Raises:
        RegistryError: Its training is not finished.
    """
    if not run.is_finished:
        raise RegistryError(
            f"model {run.reference}",
            "its training is not finished, so there is no model yet.",
            f"Go on: facefusion-finetune train {run.record.person} --resume.",
        )


def _require_activable(run: Run, force: bool) -> ModelCard:
    require_finished(run)
    card = read_card(run.model_path)
    if card.judge_result.get("proven") or force:
        return card
    if run.is_imported:
        raise RegistryError(
            f"model {run.reference}",
            "it was trained and judged on another machine, which proves nothing here.",
            "To use it all the same, labelled unproven, add --force.",
        )
    raise RegistryError(
        f"model {run.reference}",
        "it did not prove to be better on held-out footage (verdict:"
        f" {card.judge_result.get('verdict')}; independent judge:"
        f" {card.judge_result.get('judge') or 'none'}).",
        f"See {run.report_path}. To use it all the same, labelled unproven, add --force.",
    )


def _place_bases(run: Run, card: ModelCard, host: Path) -> None:
    """The base beside the run's model and beside the active ones, where the model is linked."""
    directory = models_directory(host)
    folders = [bases_directory(), run.directory, directory, directory.parent]
    restore_base(run.model_path, card, run.directory, folders, hard_links=True)
    restore_base(run.model_path, card, directory, folders)


def deactivate(
    person: Person, host: Path, version: int | None = None, keep: int | None = None
) -> list[Path]:
    """Take a person's models out of a FaceFusion folder; the runs stay.

    Args:
        person: Whose models.
        host: The FaceFusion folder.
        version: Only this version; otherwise all.
        keep: Not this version.

    Returns:
        The files that were removed, a base that no model needs any more among them.
    """
    removed = []
    found = find_models(models_directory(host)).get(person.name, {})
    for number, path in found.items():
        if number != keep and version in (None, number):
            # The model first: without it the host no longer offers the person.
            for file in (path, hash_path(path), card_path(path)):
                file.unlink(missing_ok=True)
                removed.append(file)
    return removed + remove_unused_bases(models_directory(host))


def verify(path: Path) -> ModelCard:
    """Check an active model: checksum, card, base, graph, and that card and file agree.

    Raises:
        RegistryError: Something does not hold.
    """
    if not path.is_file() or f"{_checksum(path):08x}" != _read_hash(path):
        raise RegistryError(
            str(path),
            "the file and its .hash do not agree, so it is damaged or incomplete.",
            "Activate the model again.",
        )
    card = check_cards(path)
    check_base(path)
    _check_graph(read_model(path), card)
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise RegistryError(
            str(path), f"it is no valid ONNX file ({error}).", "Activate the model again."
        ) from error
    return card


def check_cards(path: Path) -> ModelCard:
    """Check of an active model what is quick to check: that its cards and its hash are legible.

    Raises:
        RegistryError: One cannot be read, or the card beside the model is another one's.
    """
    if not path.is_file():
        raise RegistryError(str(path), "it is no file.", "Activate the model again.")
    if not re.fullmatch("[0-9a-f]{8}", _read_hash(path).strip()):
        raise RegistryError(str(hash_path(path)), "it holds no hash.", "Activate the model again.")
    card = read_card(path)
    if card != cards.read_card(card_path(path)) or path != model_path(
        path.parent, card.person, card.version
    ):
        raise RegistryError(
            str(path), "the card beside it is another model's.", "Activate the model again."
        )
    return card


def _read_hash(path: Path) -> str:
    """What the `.hash` beside a model holds; empty where it cannot be read."""
    try:
        return hash_path(path).read_text("ascii", errors="replace")
    except OSError:
        return ""


def _check_graph(model: ModelFile, card: ModelCard) -> None:
    try:
        check_graph(model, card)
    except SwapperError as error:
        raise RegistryError(error.given, error.why, "Activate the model again.") from error


def known_hosts(person: Person) -> list[Path]:
    """FaceFusion folders that a model of the person was ever activated in.

    Raises:
        RegistryError: The file that remembers them is damaged.
    """
    return elsewhere.list_hosts(person.directory)


def list_model_files(name: str, host: Path) -> list[Path]:
    """Every file of a person's models in a FaceFusion folder, models first.

    Among them are what an interrupted activation left, which `deactivate` does not see as a model.

    Args:
        name: Of the person.
        host: The FaceFusion folder.
    """
    stem = rf"{re.escape(name)}-[1-9][0-9]*\.(onnx|hash|json)"
    own = re.compile(rf"{stem}|\.{stem}\..+\.part")
    files = [
        path
        for path in models_directory(host).glob("*")
        if own.fullmatch(path.name) and (path.is_symlink() or not path.is_dir())
    ]
    return sorted(files, key=lambda path: (path.suffix != ".onnx", path))


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
