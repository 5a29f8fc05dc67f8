"""The callbacks of the list of models."""

import importlib
import json
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from facefusion_finetune import home
from facefusion_finetune.errors import RegistryError, UsageError
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.privacy.removal import remove_person
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from tests.support.runs import create_finished_run
from tests.support.tab_models import SKIPPED, get, list_active

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("said")]

UNSEEN = (None, None, "", "", None, None, "", None)
"""What a page sends that shows nothing yet."""


def test_models_of_all_persons(
    models: ModuleType, runs: list[Run], options: SwapperOptions
) -> None:
    other = add_person("bea", create_consent(None, "Bea agreed."))
    create_finished_run(other, options)
    shown = models.refresh(*UNSEEN)
    text = shown[models.MODELS_HTML]
    assert [text.index(name) for name in ("ada@1", "ada@2", "bea@1")] == sorted(
        text.index(name) for name in ("ada@1", "ada@2", "bea@1")
    )
    assert get(shown, models.MODELS_MODEL_DROPDOWN) == "bea@1"
    # the exports of what was chosen come at the next look
    shown |= models.refresh(*_list_inputs(models, shown))
    seen = _list_inputs(models, shown)
    assert models.refresh(*seen) == SKIPPED
    remove_person("bea").require_complete()
    shown = models.refresh(*seen)
    assert "bea@1" not in shown[models.MODELS_HTML]
    assert get(shown, models.MODELS_MODEL_DROPDOWN) == "ada@2"
    chosen = models.follow_person("ada", "ada@1", None)
    assert get(chosen, models.MODELS_MODEL_DROPDOWN) == "ada@2"
    assert models.follow_person("bea", "ada@1", None) == SKIPPED
    assert models.follow_person(None, "ada@1", None) == SKIPPED


def _list_inputs(models: ModuleType, shown: dict[Any, Any]) -> list[Any]:
    """What the page sends next, after the first answer."""
    compare = models.finetune_compare
    return [
        get(shown, models.MODELS_MODEL_DROPDOWN),
        None,
        shown[models.SEEN_TEXTBOX],
        shown[models.finetune_export.SEEN_TEXTBOX],
        get(shown, compare.COMPARE_LEFT_DROPDOWN),
        get(shown, compare.COMPARE_RIGHT_DROPDOWN),
        shown[compare.SEEN_TEXTBOX],
        shown[compare.COMPARE_FRAME_STATE],
    ]


def test_an_answer_takes_back_no_later_choice(
    models: ModuleType, runs: list[Run], linked_host: Path
) -> None:
    """Somebody may have chosen another version while the first one was being activated."""
    for answer in (
        models.activate("ada@1", False, None),
        models.choose("ada@1", None),
        models.deactivate("ada@1", None),
        models.refresh("ada@1", *UNSEEN[1:]),
    ):
        change = answer[models.MODELS_MODEL_DROPDOWN].constructor_args
        assert {value for _, value in change["choices"]} == {"ada@1", "ada@2"}
        assert "value" not in change
    # What is shown fits another choice than the page's: the next look puts it right.
    shown = models.choose("ada@1", None)
    later = models.refresh("ada@2", None, shown[models.SEEN_TEXTBOX], *UNSEEN[3:])
    assert get(later, models.MODELS_FORCE_CHECKBOX, "visible")


def test_no_other_answer_takes_back_the_question_or_the_tick(
    models: ModuleType, runs: list[Run], linked_host: Path
) -> None:
    """What was asked for before the question, or by the page itself, may be answered after it."""
    asked = models.ask("ada@1")[models.MODELS_ASKED_STATE]
    for answer in (
        models.activate("ada@1", False, asked),
        models.deactivate("ada@1", asked),
        models.choose("ada@1", asked),
        models.refresh("ada@2", asked, *UNSEEN[2:]),
        models.refresh("ada@1", None, *UNSEEN[2:]),
    ):
        assert models.MODELS_CONFIRM_COLUMN not in answer
    force = models.refresh("ada@1", None, *UNSEEN[2:])[models.MODELS_FORCE_CHECKBOX]
    assert "value" not in force.constructor_args
    # Another version is not meant by either.
    other = models.choose("ada@2", asked)
    assert get(other, models.MODELS_FORCE_CHECKBOX) is False
    models.delete("ada@1", "ada@2")
    for answer in (other, models.refresh("ada@2", asked, *UNSEEN[2:])):
        assert get(answer, models.MODELS_CONFIRM_COLUMN, "visible") is False
        assert answer[models.MODELS_ASKED_STATE] is None


def test_what_is_chosen_stays_when_another_version_is_deleted(
    models: ModuleType, runs: list[Run]
) -> None:
    shown = models.delete("ada@2", "ada@1")
    assert not runs[1].directory.exists()
    assert "value" not in shown[models.MODELS_MODEL_DROPDOWN].constructor_args


def test_damaged_models_are_told_about(models: ModuleType, runs: list[Run]) -> None:
    runs[1].model_path.write_bytes(b"no model")
    shown = models.refresh(*UNSEEN)
    assert "damaged" in shown[models.MODELS_HTML]
    assert f"{runs[1].model_path}: the model cannot be read" in shown[models.MODELS_HTML]
    with pytest.raises(RegistryError):
        models.activate("ada@2", True, None)
    models.delete("ada@2", "ada@2")
    assert not runs[1].directory.exists()


def test_back_and_out(
    models: ModuleType, runs: list[Run], linked_host: Path, said: list[str]
) -> None:
    with pytest.raises(RegistryError, match="none is active"):
        models.go_back("ada@1", False, None)
    models.activate("ada@2", True, None)
    shown = models.go_back("ada@2", False, None)
    assert list_active(linked_host) == [1]
    assert get(shown, models.MODELS_MODEL_DROPDOWN) == "ada@1"
    assert models.MODELS_ASKED_STATE not in shown, "a question may have been asked since"
    models.deactivate("ada@2", None)
    assert "not active" in said[-1]
    assert list_active(linked_host) == [1]
    models.deactivate("ada@1", None)
    assert list_active(linked_host) == []
    assert runs[0].is_finished


def test_going_back_to_an_unproven_version_needs_the_tick(
    models: ModuleType, person: Person, runs: list[Run], options: SwapperOptions, linked_host: Path
) -> None:
    create_finished_run(person, options, proven=True)
    shown = models.activate("ada@3", False, None)
    assert get(shown, models.MODELS_FORCE_CHECKBOX, "visible"), "for ada@2, the one before"
    with pytest.raises(UsageError, match="ada@2"):
        models.go_back("ada@3", False, None)
    assert list_active(linked_host) == [3]
    models.go_back("ada@3", True, None)
    assert list_active(linked_host) == [2]


def test_deletion_is_asked_about(
    models: ModuleType, runs: list[Run], linked_host: Path, said: list[str]
) -> None:
    models.activate("ada@1", False, None)
    asked = models.ask("ada@1")
    assert get(asked, models.MODELS_CONFIRM_COLUMN, "visible")
    assert "Delete ada@1" in asked[models.MODELS_CONFIRM_HTML]
    assert asked[models.MODELS_CONFIRM_BUTTON] == "DELETE ada@1"
    assert runs[0].directory.exists()
    left = models.cancel()
    assert not get(left, models.MODELS_CONFIRM_COLUMN, "visible")
    with pytest.raises(RegistryError, match="no such version"):
        models.delete(left[models.MODELS_ASKED_STATE], "ada@1")
    shown = models.delete(asked[models.MODELS_ASKED_STATE], "ada@1")
    assert not runs[0].directory.exists()
    assert list_active(linked_host) == []
    assert "ada@1 was deleted" in said[-1]
    assert not get(shown, models.MODELS_CONFIRM_COLUMN, "visible")
    assert get(shown, models.MODELS_MODEL_DROPDOWN) == "ada@2"


def test_a_version_at_work_is_not_deleted(
    models: ModuleType, runs: list[Run], person: Person
) -> None:
    job = person.directory / "jobs" / "20260101-000000-000000-evaluate"
    home.create_private_directory(job)
    request = {
        "id": job.name,
        "person": "ada",
        "kind": "evaluate",
        "created": datetime.now(UTC).isoformat(),
        "arguments": {"version": 2},
    }
    (job / "job.json").write_text(json.dumps(request))
    (job / "state.json").write_text(json.dumps({"status": "running", "version": 2}))
    locks = importlib.import_module("facefusion_finetune.locks")
    with locks.hold(job / ".lock"):
        for refuse in (models.ask, lambda reference: models.delete(reference, reference)):
            with pytest.raises(UsageError, match="being trained or evaluated"):
                refuse("ada@2")
        models.delete("ada@1", "ada@1")
    assert runs[1].directory.exists()
