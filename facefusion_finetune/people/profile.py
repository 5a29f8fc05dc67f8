"""A person's record in `person.toml`: consent, and a name that is safe for files and folders."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import AwareDatetime, BaseModel, ConfigDict

from facefusion_finetune import home, temporary
from facefusion_finetune.damage import DamageError, explain, parse_toml, read_content, read_file
from facefusion_finetune.errors import ConsentError, FinetuneError, UsageError
from facefusion_finetune.people import lock

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?")
_VERSION = re.compile(r"0{0,9}[1-9][0-9]{0,8}")
_RESERVED = {"con", "prn", "aux", "nul"} | {
    f"{device}{number}" for device in ("com", "lpt") for number in range(10)
}


def validate_name(name: str) -> str:
    """Return `name` if it can be a person's name.

    Raises:
        UsageError: It is empty, too long, or has characters other than letters, digits, `_-.`.
    """
    if not _is_name(name):
        raise UsageError(
            f"person name {name!r}",
            "it becomes a folder and file name, so it must have 1 to 64 characters, start with a"
            " letter or digit, and contain only letters, digits, '_', '-' and '.'.",
            "Choose another name, for example 'jane_doe'.",
        )
    return name


def _is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name.split(".")[0].lower() not in _RESERVED


def split_reference(reference: str) -> tuple[str, int | None]:
    """Split `NAME` or `NAME@VERSION`.

    Raises:
        UsageError: The name or the version is not valid.
    """
    name, mark, version = reference.partition("@")
    validate_name(name)
    if not mark:
        return name, None
    if not _VERSION.fullmatch(version):
        raise UsageError(
            f"model {reference!r}",
            "the part after '@' is not a version number.",
            "Write NAME@VERSION, for example jane_doe@2.",
        )
    return name, int(version)


DEFAULT_SCOPE = "training and use of a face swapper of this person"


class Consent(BaseModel):
    """What the person agreed to. A consent file is not copied; only its digest is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["note", "file"]
    text: str
    """The note itself, or the file's name."""
    sha256: str
    """Of the note's text or of the file's bytes."""
    recorded: date
    scope: str = DEFAULT_SCOPE
    expires: date | None = None


class Person(BaseModel):
    """One person this package holds data about."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    created: AwareDatetime
    """To the microsecond, and never changed: tells a person from one of the same name who was added
    after a removal."""
    consent: Consent | None = None

    @property
    def directory(self) -> Path:
        """The folder with everything held about the person, except models active in a host."""
        return person_directory(self.name)

    @property
    def runs_directory(self) -> Path:
        """The folder with one subfolder per training run."""
        return self.directory / home.RUNS_FOLDER

    def sweep(self) -> None:
        """Delete what killed commands left unfinished in the person's folder."""
        temporary.sweep_folder(self.directory, deep=True)

    def require_consent(self) -> Consent:
        """The consent on record.

        Raises:
            ConsentError: No consent is on record, or it has expired.
        """
        if self.consent is None:
            raise ConsentError(
                f"person {self.name!r}",
                f"no consent is on record in {self.directory / home.PERSON_FILE}.",
                "Remove the record and add the person again with --consent FILE or"
                " --consent-note TEXT.",
            )
        if self.consent.expires is not None and self.consent.expires < date.today():
            raise ConsentError(
                f"person {self.name!r}",
                f"the consent on record expired on {self.consent.expires}.",
                f"Ask again, then record it: person add {self.name} --renew --consent-note TEXT.",
            )
        return self.consent


@dataclass(frozen=True)
class DamagedPerson:
    """A person data is held about, but whose record cannot be read."""

    name: str
    error: FinetuneError


def create_consent(
    file: Path | None, note: str | None, scope: str = DEFAULT_SCOPE, expires: date | None = None
) -> Consent:
    """Create a consent record from the proof given by the user.

    Args:
        file: A signed form or recording; read for its digest, not copied.
        note: A sentence that says who agreed to what, and when.
        scope: What the consent covers.
        expires: Last day on which it is valid.

    Raises:
        UsageError: Neither or both are given, the proof is empty, or the day is in the past.
        ConsentError: The file cannot be read.
    """
    if (file is None) == (note is None):
        raise UsageError(
            "consent",
            "adding a person requires exactly one proof of consent.",
            "Give --consent FILE (a signed form or a recording) or --consent-note TEXT.",
        )
    if expires is not None and expires < date.today():
        raise UsageError(
            f"consent until {expires}",
            "that day is in the past.",
            "Give a later --consent-expires.",
        )
    if file is not None:
        try:
            content = read_content(file, limit=None)
        except (OSError, DamageError) as error:
            raise ConsentError(
                f"consent file {file}",
                f"it cannot be read ({explain(error)}).",
                "Give an existing, readable file.",
            ) from error
        kind: Literal["note", "file"] = "file"
        text = file.name
    else:
        text = (note or "").strip()
        content = text.encode("utf-8")
        kind = "note"
    if not content:
        raise UsageError(
            "consent", "it is empty.", "State who agreed to what, and when, in the file or note."
        )
    return Consent(
        kind=kind,
        text=text,
        sha256=hashlib.sha256(content).hexdigest(),
        recorded=date.today(),
        scope=scope,
        expires=expires,
    )


def person_directory(name: str) -> Path:
    """The folder of a person with this name; it may not exist.

    Raises:
        UsageError: It is no person's name, and might lead to a folder elsewhere.
    """
    return home.people_directory() / validate_name(name)


def add_person(name: str, consent: Consent, renew: bool = False) -> Person:
    """Record a person, before any crop is made.

    Args:
        name: See `validate_name`.
        consent: From `create_consent`.
        renew: Replace the consent of an existing person.

    Raises:
        UsageError: The name is invalid or taken (with `renew`: unknown).
        ConsentError: The record is damaged, or the person is being removed.
        BusyError: Another command is changing what is held about the person.
    """
    validate_name(name)
    former = load_person(name) if renew else None
    with lock.hold_name(name, is_new=former is None):
        person = _renew(former, consent) if former else _create(name, consent)
        path = person.directory / home.PERSON_FILE
        home.create_private_directory(path.parent)
        home.write_text(path, _encode(person))
    return person


def _renew(former: Person, consent: Consent) -> Person:
    return confirm_person(former).model_copy(update={"consent": consent})


def _create(name: str, consent: Consent) -> Person:
    taken = [other for other in list_names() if other.lower() == name.lower()]
    if taken:
        raise UsageError(
            f"person {name!r}",
            f"there is already a person named {taken[0]!r}.",
            "Choose another name, or use --renew to replace the consent on record.",
        )
    return Person(name=name, created=datetime.now(UTC), consent=consent)


def load_person(name: str) -> Person:
    """Read a person's record.

    Raises:
        UsageError: The name is invalid, or there is no such person.
        ConsentError: The record is damaged, so consent cannot be proven.
    """
    path = person_directory(name) / home.PERSON_FILE
    try:
        person = read_file(path, lambda content: Person.model_validate(parse_toml(content)))
    except FileNotFoundError as error:
        raise _create_unknown_error(name) from error
    except DamageError as error:
        raise _create_record_error(
            path, f"it is damaged, so consent cannot be proven ({error})."
        ) from error
    # On a case-insensitive file system, the name may differ in case.
    if person.name.lower() != name.lower():
        raise _create_record_error(path, f"it is the record of {person.name!r}.")
    return person


def list_names() -> list[str]:
    """Names of all persons on record, sorted."""
    return sorted(filter(_is_name, _list_folders(home.PERSON_FILE)))


def scan_people() -> list[Person | DamagedPerson]:
    """All persons data is held about, by name, including those without a readable record."""
    found: list[Person | DamagedPerson] = []
    on_record = _list_folders(home.PERSON_FILE)
    for name in sorted(on_record | set(filter(_is_name, _list_folders("*")))):
        try:
            found.append(load_person(name))
        except FinetuneError as error:
            path = home.people_directory() / name / home.PERSON_FILE
            if path.exists():
                found.append(DamagedPerson(name, error))
            elif name not in on_record:
                why = "it is missing, so consent cannot be proven."
                found.append(DamagedPerson(name, _create_record_error(path, why)))
    return found


def _list_folders(file: str) -> set[str]:
    """Names of the folders that hold a file of this name, or any for `*`."""
    return {path.parent.name for path in home.people_directory().glob(f"*/{file}")}


def find_directory(name: str) -> Path:
    """The folder of a person, whose record may be damaged or missing.

    Raises:
        UsageError: There is no such person.
    """
    directory = person_directory(name)
    if not directory.is_dir() and not directory.is_symlink():
        if lock.is_being_removed(name):
            # The removal was killed at its very end; the lock's file goes with this block.
            with lock.hold_name(name, is_removal=True):
                pass
        raise _create_unknown_error(name)
    return directory


def confirm_consent(name: str) -> Consent:
    """The consent currently on record, read from disk again.

    Raises:
        ConsentError: No consent is on record, it has expired, or the person was or is being
            removed.
    """
    return _reload(name).require_consent()


def confirm_person(person: Person) -> Person:
    """The person's current record, read from disk again; the consent may be missing or expired.

    Raises:
        ConsentError: The person was or is being removed, even if a person of the same name was
            added since.
    """
    current = _reload(person.name)
    if current.created != person.created:
        raise ConsentError(
            f"person {person.name!r}",
            "the person was removed, and the consent of the person added under the same name since"
            " then does not cover what was begun before.",
            "Start again, if that is meant for the person now on record.",
        )
    return current


def _reload(name: str) -> Person:
    if lock.is_being_removed(name):
        raise lock.create_removal_error(name)
    try:
        return load_person(name)
    except UsageError as error:
        raise ConsentError(
            f"person {name!r}",
            "the person was removed, which withdraws the consent.",
            "To start again, ask for consent, then add the person.",
        ) from error


def _create_unknown_error(name: str) -> UsageError:
    known = ", ".join(list_names()) or "none yet"
    return UsageError(
        f"person {name!r}",
        f"no such person is on record (known: {known}).",
        f"Add the person first: facefusion-finetune person add {name} --consent FILE.",
    )


def _create_record_error(path: Path, why: str) -> ConsentError:
    return ConsentError(
        f"person record {path}", why, "Repair the file, or move it away and add the person again."
    )


def _encode(person: Person) -> str:
    return tomli_w.dumps(person.model_dump(exclude_none=True))
