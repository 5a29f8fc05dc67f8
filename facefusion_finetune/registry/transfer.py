"""Exports models to other machines, and imports them.

An imported file is untrusted: it is copied first and only the copy is read, its card is checked
field by field, and a claim to be proven is not believed.
"""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy

from facefusion_finetune import home, temporary
from facefusion_finetune.errors import ConsentError, RegistryError, SwapperError, UsageError
from facefusion_finetune.people import elsewhere, profile
from facefusion_finetune.people.profile import Person, confirm_person, validate_name
from facefusion_finetune.people.work import lock_person
from facefusion_finetune.registry.bases import (
    check_graph,
    release_home_bases,
    restore_base,
    rewrite_model,
)
from facefusion_finetune.registry.store import read_card, read_model, require_finished
from facefusion_finetune.runs.run import (
    MODEL_FILE,
    ImportRecord,
    Run,
    list_runs,
    next_version,
    require_on_record,
    run_directory,
    write_record,
)
from facefusion_finetune.swappers.branches.select import scale_branches
from facefusion_finetune.swappers.branches.split import measure_branches, split_branches
from facefusion_finetune.swappers.card import ModelCard, encode_metadata
from facefusion_finetune.swappers.catalogue import find_family
from facefusion_finetune.swappers.files.bases import (
    bases_directory,
    check_base,
    digest_file,
    find_base,
    name_base,
)
from facefusion_finetune.swappers.files.metadata import read_links
from facefusion_finetune.swappers.files.modelfile import MAX_FILE_BYTES, ModelFile, open_model
from facefusion_finetune.swappers.files.writeback import Weights, save_model
from facefusion_finetune.swappers.sessions import create_session

MAX_TEXT = 500
ASK_AGAIN = "Request a new file, made with `facefusion-finetune models export`."


def read_claimed_card(path: Path, source: Path | None = None) -> ModelCard:
    """The validated card of an untrusted file, safe to print.

    Args:
        path: The file.
        source: The path given by the user, for the error message.

    Raises:
        RegistryError: The file cannot be read, or its card is missing or damaged.
    """
    given = str(source or path)
    try:
        card = read_card(path)
        find_family(card.type, "its card")
    except (RegistryError, SwapperError) as error:
        raise RegistryError(given, error.why, ASK_AGAIN) from error
    problem = _find_bad_text(asdict(replace(card, person_picture=None)))
    if problem is not None:
        raise RegistryError(given, f"its card is damaged ({problem}).", ASK_AGAIN)
    return card


def adopt_card(claimed: ModelCard, person: Person) -> ModelCard:
    """The card for the next version of a person here, marked as not proven on this machine."""
    judged = claimed.judge_result
    return replace(
        claimed,
        person=person.name,
        version=next_version(person),
        label=ModelCard.label,
        judge_result=judged
        | {
            "proven": False,
            "made_elsewhere": True,
            "proven_elsewhere": bool(judged.get("proven_elsewhere", judged.get("proven"))),
        },
    )


def _find_bad_text(value: object) -> str | None:
    """Describe text that is too long or has control characters; None if there is none."""
    if isinstance(value, str) and (len(value) > MAX_TEXT or not value.isprintable()):
        return "it has a text that is too long or not printable"
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        return next(filter(None, map(_find_bad_text, value)), None)
    return None


CHUNK = 1 << 22
SHARED_FIELDS = (
    *("person", "version", "created", "package_version", "base_name", "base_sha256"),
    *("base_vendor", "base_licence", "consent_digest", "dataset_digest"),
)
"""Fields shared by the card and the run's record."""
SLACK = 1 << 20
"""Bytes by which a standalone file's size may differ from its base's, due to metadata."""


@dataclass(frozen=True)
class Exported:
    """An exported file, and the base it requires."""

    path: Path
    size: int
    """Size in bytes."""
    base: str | None
    """Name and sha256 of the base required on the other machine; None for a standalone file."""


@dataclass(frozen=True)
class Imported:
    """The run of an imported model."""

    run: Run
    origin: str
    """`NAME@VERSION` on the other machine."""
    note: str | None
    """Why the model is not linked to its base; None if it is."""
    is_new: bool = True
    """Whether it was not imported before."""


def export_model(
    person: Person,
    run: Run,
    output: Path,
    standalone: bool = False,
    half: bool = False,
    overwrite: bool = False,
    strength: float = 1.0,
) -> Exported:
    """Write a finished run's model to a file for another machine or another program.

    Args:
        person: Has valid consent on record.
        run: A finished run of that person.
        output: The new file.
        standalone: Include all weights, so that no base is needed next to the file.
        half: Write fp16 weights, in a standalone file.
        overwrite: Replace an existing file.
        strength: Strength of a gated change, 0 (the base) to 1 (as trained). Below 1, the result is
            a different model that was not judged, in a standalone file.

    Raises:
        ConsentError: No valid consent is on record, or the person was removed.
        BusyError: Another command is changing what is held about the person.
        UsageError: The output is a folder or an existing file; the strength is invalid, is combined
            with fp16, or the model is not gated.
        TrainingError: The run was removed.
        RegistryError: The run has no model, its base is missing or changed, or the file cannot be
            written.
        SwapperError: The model's outputs would change too much in fp16.
    """
    person.require_consent()
    with lock_person(person) as current:
        current.require_consent()
        require_on_record(run)
        return _export(person, run, output, standalone, half, overwrite, strength)


def _export(
    person: Person,
    run: Run,
    output: Path,
    standalone: bool,
    half: bool,
    overwrite: bool,
    strength: float,
) -> Exported:
    require_finished(run)
    _check_output(output, overwrite)
    card = read_card(run.model_path)
    check_base(run.model_path, hard_links=True)
    model = read_model(run.model_path)
    weights = metadata = None
    if strength != 1:
        weights = _scale_change(run, model, strength, half)
        metadata = encode_metadata(_mark_unjudged(card, strength))
    is_plain = standalone or half or strength != 1 or not model.is_linked
    try:
        with elsewhere.remembered(person.directory, output, "export", run.reference):
            if half:
                from facefusion_finetune.swappers.precision import create_inputs, write_fp16

                write_fp16(model, output, create_inputs(model))
            elif is_plain:
                save_model(model, output, weights, metadata)
            else:
                home.copy_whole(run.model_path, output)
            _confirm_export(person, output)
    except OSError as error:
        raise RegistryError(
            str(output),
            f"the model cannot be written ({error.strerror or error}).",
            "Choose a file in an existing, writable folder with enough disk space.",
        ) from error
    base = None if is_plain else f"{card.base_name} (sha256 {card.base_sha256})"
    return Exported(output, output.stat().st_size, base)


def _confirm_export(person: Person, output: Path) -> None:
    """Undo an export if the consent ended meanwhile."""
    try:
        confirm_person(person).require_consent()
    except ConsentError:
        output.unlink(missing_ok=True)
        raise


def _scale_change(run: Run, model: ModelFile, strength: float, half: bool) -> Weights:
    """The weights of a gated model's change, scaled to a strength below 1."""
    given = f"--strength {strength:g}"
    if not 0 <= strength <= 1:
        raise UsageError(given, "it is out of range.", "Use a value from 0 to 1.")
    if half:
        raise UsageError(
            f"{given} with --precision fp16",
            "the two options cannot be combined.",
            "Export at that strength, import the file, then export it in fp16.",
        )
    split = split_branches(model)
    if split is None:
        raise UsageError(
            given,
            f"{run.reference} is not gated, so its strength cannot be changed.",
            "Train with a gated preset, such as balanced.",
        )
    names = [name for branch in split.branches.values() for name in (branch.up, branch.bias)]
    return scale_branches(
        {name: model.read_tensor(name).astype(numpy.float32) for name in names}, strength
    )


def _mark_unjudged(card: ModelCard, strength: float) -> ModelCard:
    judged = {"verdict": f"not judged at strength {strength:g}", "proven": False}
    return replace(card, judge_result={**card.judge_result, **judged})


def import_model(source: Path, name: str | None, folders: Iterable[Path]) -> Imported:
    """Import a model from another machine as the next version of a person on record.

    A file that was imported before, whole, is not imported again, so that an interrupted import can
    be repeated.

    Args:
        source: The file; it is only read.
        name: The person here; if None, the name in the card.
        folders: Folders to search for the base, in addition to the home's `bases`.

    Raises:
        UsageError: The name is invalid.
        ConsentError: The person is not on record, has no valid consent, or was removed.
        BusyError: Another command is changing what is held about the person.
        RegistryError: The file is damaged, has no card, does not match its card, needs a base that
            is missing, or cannot be written.
    """
    person = _find_person(source, name)
    with lock_person(person) as current:
        current.require_consent()
        try:
            home.create_inner_directory(person.runs_directory, person.directory)
            person.sweep()
            with temporary.stage_folder(person.runs_directory / "import") as folder:
                imported = _import_file(source, person, folder, [bases_directory(), *folders])
            if imported.is_new:
                _confirm_import(person, imported.run)
            return imported
        except OSError as error:
            raise RegistryError(
                str(source),
                f"it cannot be imported ({error.strerror or error}).",
                "Free some space or grant access, then import it again. Nothing was changed.",
            ) from error
        finally:
            release_home_bases()


def _confirm_import(person: Person, run: Run) -> None:
    """Undo an import if the consent ended meanwhile."""
    try:
        confirm_person(person).require_consent()
    except ConsentError:
        shutil.rmtree(run.directory, ignore_errors=True)
        raise


def _find_person(source: Path, name: str | None) -> Person:
    if name is None:
        name = read_claimed_card(source).person
    if name not in profile.list_names():
        validate_name(name)
        raise ConsentError(
            f"person {name!r}",
            "no such person is on record here, so there is no consent.",
            f"Add the person: facefusion-finetune person add {name} --consent FILE; or import the"
            " model for someone on record with --as NAME.",
        )
    return profile.load_person(name)


def _import_file(source: Path, person: Person, folder: Path, folders: list[Path]) -> Imported:
    incoming = home.create_private_directory(folder / "incoming")
    path = incoming / MODEL_FILE
    _check_size(source)
    home.copy_whole(source, path)
    claimed = read_claimed_card(path, source)
    digest = digest_file(path)
    former = _find_imported(person, digest)
    if former is not None:
        return Imported(former, f"{claimed.person}@{claimed.version}", None, is_new=False)
    try:
        base_path = _provide_base(path, claimed, source, folders)
        model = open_model(path)
        check_graph(model, claimed)
        _check_inputs(model, claimed, source)
        card = adopt_card(claimed, person)
        note = rewrite_model(model, base_path, card, folder / MODEL_FILE)
        create_session(folder / MODEL_FILE, str(source))
    except SwapperError as error:
        raise RegistryError(str(source), error.why, ASK_AGAIN) from error
    shutil.rmtree(incoming)
    record = ImportRecord(
        **{key: getattr(card, key) for key in SHARED_FIELDS},
        preset_name=card.preset,
        imported_at=datetime.now(UTC),
        origin=f"{claimed.person}@{claimed.version}",
        sha256=digest,
    )
    write_record(folder, record)
    directory = run_directory(person, card.version)
    folder.rename(directory)
    return Imported(Run(directory, record), record.origin, note)


def _find_imported(person: Person, sha256: str) -> Run | None:
    """The intact version that was imported from a file with this digest."""
    for run in list_runs(person):
        record = run.record
        if isinstance(record, ImportRecord) and record.sha256 == sha256 and run.is_finished:
            with contextlib.suppress(RegistryError):
                check_base(run.model_path, hard_links=True)
                read_model(run.model_path)
                return run
    return None


def _provide_base(path: Path, card: ModelCard, source: Path, folders: list[Path]) -> Path | None:
    """Find the base on this machine, and place it next to the copy of a linked file.

    Raises:
        RegistryError: The file is linked, and its base is missing.
        SwapperError: The file is damaged.
    """
    links = read_links(path)
    if not links.locations:
        size = path.stat().st_size
        sizes = range(size - measure_branches(open_model(path)) - SLACK, size + SLACK)
        return find_base(card.base_sha256, card.base_name, sizes, folders)
    name = name_base(card.base_name, card.base_sha256)
    if links.locations != {name}:
        raise RegistryError(
            str(source),
            f"its weights are in {sorted(links.locations)}, which is not the base its card names.",
            ASK_AGAIN,
        )
    restore_base(path, card, path.parent, folders, hard_links=True)
    return path.parent / name


def _check_inputs(model: ModelFile, card: ModelCard, source: Path) -> None:
    """Check that the graph's inputs match the swapper type in its card."""
    graph = model.skeleton.graph
    inputs = {value.name for value in graph.input} - set(model.tensors)
    last = next(reversed(model.tensors.values()), None)
    fits = inputs == {"target", "source"}
    if find_family(card.type, "its card").needs_emap:
        fits = fits and last is not None and last.dims == (512, 512)
    if not fits:
        raise RegistryError(
            str(source), f"it is not a face swapper of type {card.type!r}.", ASK_AGAIN
        )


def _check_output(output: Path, overwrite: bool) -> None:
    if output.is_dir():
        raise UsageError(str(output), "it is a folder.", "Give a file, for example jane.onnx.")
    if os.path.lexists(output) and not overwrite:
        raise UsageError(
            str(output), "the file already exists.", "Choose another name, or add --overwrite."
        )


def _check_size(source: Path) -> None:
    status = source.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
        raise RegistryError(str(source), "it is not a file, or too large for a model.", ASK_AGAIN)


def exports_directory(person: Person) -> Path:
    """Folder of a person's exports; deleted with the person."""
    return person.directory / home.EXPORTS_FOLDER


def name_export(run: Run, standalone: bool, half: bool, strength: float) -> str:
    """A descriptive file name, for example `jane-2-standalone.onnx`."""
    marks = [
        *(["standalone"] if standalone and not half and strength == 1 else []),
        *(["fp16"] if half else []),
        *([f"strength-{strength:g}"] if strength != 1 else []),
    ]
    return "-".join([run.record.person, str(run.record.version), *marks]) + ".onnx"


def export_privately(
    person: Person, run: Run, standalone: bool = False, half: bool = False, strength: float = 1.0
) -> Exported:
    """Export a finished run to the person's folder.

    An earlier export of the same version with the same options is replaced.

    Args and errors as in `export_model`; also OSError, if the folder cannot be created.
    """
    with lock_person(person) as current:
        current.require_consent()
        folder = exports_directory(person)
        home.create_inner_directory(folder, person.directory)
        output = folder / name_export(run, standalone, half, strength)
        return export_model(
            person, run, output, standalone, half, overwrite=True, strength=strength
        )


def list_exports(person: Person, version: int) -> list[Path]:
    """Exports of a version in the person's folder."""
    name = re.compile(rf"{re.escape(person.name)}-{version}(-[a-z0-9.-]+)?\.onnx")
    files = exports_directory(person).glob("*.onnx")
    return sorted(path for path in files if name.fullmatch(path.name))
