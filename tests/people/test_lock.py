"""The lock of a person: one change at a time, nothing after a removal, no file for nobody."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from facefusion_finetune import home
from facefusion_finetune.errors import BusyError, ConsentError, UsageError
from facefusion_finetune.people import elsewhere, lock
from facefusion_finetune.people.profile import (
    Person,
    add_person,
    confirm_person,
    create_consent,
    load_person,
)
from facefusion_finetune.people.work import (
    CROPS,
    Announcement,
    at_work,
    list_others,
    lock_person,
)
from facefusion_finetune.privacy.removal import remove_person
from tests.support.waiting import HANGS

HOLDER = """
import sys, time
from facefusion_finetune.people import lock
with lock.hold_name("ada", is_removal=sys.argv[1] == "removal"):
    if sys.argv[1] == "removal":
        lock.mark_removal("ada", True)
    print("held", flush=True)
    time.sleep(600)
"""


def _hold_elsewhere(kind: str) -> subprocess.Popen[str]:
    """A process that holds the lock, when this returns, until it is killed."""
    command = [sys.executable, "-c", HOLDER, kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_changes_wait_for_each_other(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    with _hold_elsewhere("change") as process:
        monkeypatch.setattr(lock, "WAIT_SECONDS", 0.1)
        with pytest.raises(BusyError, match="another command has been changing"):
            add_person("ada", create_consent(None, "again"), renew=True)
        assert load_person("ada").consent == person.consent
        monkeypatch.setattr(lock, "WAIT_SECONDS", HANGS)
        ending = threading.Timer(0.3, process.send_signal, [signal.SIGKILL])
        ending.start()
        renewed = add_person("ada", create_consent(None, "again"), renew=True)
        ending.join()
    assert load_person("ada") == renewed
    assert renewed.created == person.created


def test_a_change_can_be_part_of_another(person: Person) -> None:
    with lock_person(person), lock_person(person):
        elsewhere.remember(person.directory, Path("/far/sent.onnx"), "export", "ada@1")
        held = []
        other = threading.Thread(target=lambda: held.append(_can_lock()))
        other.start()
        other.join()
        assert held == [False], "another thread has to wait"
    assert _can_lock()


def _can_lock() -> bool:
    handle = os.open(lock.lock_path("ada"), os.O_RDWR)
    try:
        return lock.locks.try_lock(handle)
    finally:
        os.close(handle)


def test_one_that_is_being_removed_is_refused_at_once(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_SECONDS", HANGS)
    with _hold_elsewhere("removal") as process:
        with pytest.raises(ConsentError, match="is being removed"), lock_person(person):
            pass
        with pytest.raises(ConsentError, match="is being removed"):
            add_person("ada", create_consent(None, "again"), renew=True)
        with pytest.raises(ConsentError, match="is being removed"):
            elsewhere.remember_host(person.directory, Path("/host"))
        _end(process)
    # The removal was killed: it has to be completed first.
    with pytest.raises(ConsentError, match=r"complete it: .* person remove ada") as caught:
        confirm_person(person)
    assert caught.value.given == "person 'ada'"
    with pytest.raises(ConsentError, match="is being removed"):
        add_person("ada", create_consent(None, "anew"))
    remove_person("ada").require_complete()
    assert add_person("ada", create_consent(None, "anew")) == load_person("ada")


def test_the_file_stays_no_longer_than_the_person(person: Person, home_folder: Path) -> None:
    folder = home_folder / "locks"
    assert [path.name for path in folder.iterdir()] == ["ada.lock"]
    remove_person("ada").require_complete()
    assert list(folder.iterdir()) == []
    with pytest.raises(ConsentError, match="was removed"), lock_person(person):
        pass
    with pytest.raises(UsageError, match="no such person"):
        remove_person("eve")
    with pytest.raises(FileNotFoundError):
        elsewhere.remember_host(person.directory, Path("/host"))
    assert list(folder.iterdir()) == []


def test_removal_can_be_marked_on_a_full_disk(person: Person) -> None:
    """It makes room: the mark needs no block of its own."""
    with lock.hold_name("ada", is_removal=True):
        assert not lock.is_being_removed("ada")
        lock.mark_removal("ada", True)
        assert lock.is_being_removed("ada")
        assert lock.lock_path("ada").stat().st_blocks == 0
        lock.mark_removal("ada", False)
        assert not lock.is_being_removed("ada")


def test_work_that_cannot_be_announced_is_withdrawn(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError, match="No space left") as caught, at_work(person, CROPS):
        pass
    assert Path(caught.value.filename).parent == person.directory / ".work"
    assert [path.name for path in person.directory.iterdir()] == ["person.toml"]


def test_removal_killed_at_its_very_end(person: Person, home_folder: Path) -> None:
    with _hold_elsewhere("removal") as process:
        _end(process)
    (person.directory / home.PERSON_FILE).unlink()
    person.directory.rmdir()
    assert lock.lock_path("ada").exists()
    with pytest.raises(UsageError, match="no such person"):
        remove_person("ada")
    assert list((home_folder / "locks").iterdir()) == []
    add_person("ada", create_consent(None, "anew"))


def test_person_of_the_same_name_is_somebody_else(person: Person, tmp_path: Path) -> None:
    with at_work(person, CROPS) as work:
        remove_person("ada").require_complete()
        anew = add_person("ada", create_consent(None, "anew"))
        assert work.is_over
        with pytest.raises(ConsentError, match="does not cover what was begun before"):
            work.check()
        with pytest.raises(ConsentError, match="added under the same name"), lock_person(person):
            pass
        with pytest.raises(ConsentError, match="added under the same name"):
            work.claim("ada@1")
    with lock_person(anew) as current:
        assert current == anew
    assert [path.name for path in anew.directory.iterdir()] == ["person.toml"]


def test_work_is_told_to_others_and_done_once(person: Person) -> None:
    with at_work(person) as work:
        work.claim("ada@2")
        assert list_others(person.directory) == {}, "the current thread's does not count"
        with pytest.raises(BusyError, match="is working on ada@2"), at_work(person, "ada@2"):
            pass
        with at_work(person, CROPS), lock_person(person, idle="ada@1"):
            pass
        found = {}
        other = threading.Thread(target=lambda: found.update(list_others(person.directory)))
        other.start()
        other.join()
        assert found == {work.path: Announcement(pid=os.getpid(), what="ada@2")}
    with at_work(person, "ada@2"):
        pass
    assert [path.name for path in person.directory.iterdir()] == ["person.toml"]


def test_announcement_of_a_killed_process_counts_no_longer(person: Person) -> None:
    folder = person.directory / ".work"
    folder.mkdir()
    (folder / "123-1.json").write_text('{"pid": 123, "what": "the crops"}')
    (folder / "124-1.json").write_bytes(b"\xff")
    assert list_others(person.directory) == {}
    with at_work(person, CROPS) as work:
        assert list(folder.iterdir()) == [work.path]
    assert not folder.exists()
