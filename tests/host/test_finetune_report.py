"""The callbacks of the report."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from facefusion_finetune.errors import UsageError
from facefusion_finetune.people.profile import Person
from facefusion_finetune.privacy.removal import remove_person
from facefusion_finetune.registry.transfer import export_model, import_model
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from tests.support.runs import create_finished_run
from tests.support.tab_models import SKIPPED, get, list_active, write_report

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("said")]

UNSEEN = ("ada", None, "", "")
"""What a page sends that shows nothing of ada yet."""


def test_newest_version_is_shown(proof: ModuleType, runs: list[Run]) -> None:
    shown = proof.refresh(*UNSEEN)
    assert get(shown, proof.PROOF_VERSION_DROPDOWN) == "ada@2"
    assert [value for _, value in get(shown, proof.PROOF_VERSION_DROPDOWN, "choices")] == [
        "ada@2",
        "ada@1",
    ]
    text = shown[proof.PROOF_HTML]
    for words in (
        "UNPROVEN",
        "further from the real person",
        "Film 3 more shots",
        "near-duplicates",
        "Distance to the real photograph",
        ">13.4<",
        str(runs[1].report_path),
    ):
        assert words in text
    assert shown[proof.PROOF_PICTURES_HTML].count("data:image/png;base64,") == 2
    assert get(shown, proof.PROOF_FORCE_CHECKBOX, "visible")
    older = proof.choose("ada", "ada@1")
    assert "comes closer to the real person" in older[proof.PROOF_HTML]
    assert not get(older, proof.PROOF_FORCE_CHECKBOX, "visible")


def test_report_follows_what_is_finished(
    proof: ModuleType, runs: list[Run], person: Person, options: SwapperOptions
) -> None:
    seen = _list_seen(proof, proof.refresh(*UNSEEN))
    older = _list_seen(proof, proof.choose("ada", "ada@1"))
    assert proof.refresh("ada", "ada@2", *seen) == SKIPPED
    assert proof.refresh("ada", "ada@1", *older) == SKIPPED
    create_finished_run(person, options)
    newer = proof.refresh("ada", "ada@2", *seen)
    assert get(newer, proof.PROOF_VERSION_DROPDOWN) == "ada@3"
    kept = proof.refresh("ada", "ada@1", *older)
    # somebody may have chosen another one since: no answer takes that back
    assert "value" not in kept[proof.PROOF_VERSION_DROPDOWN].constructor_args
    assert "ada@1" in kept[proof.PROOF_HTML]
    assert len(get(kept, proof.PROOF_VERSION_DROPDOWN, "choices")) == 3
    # what is shown fits another choice than the page's: the next look puts it right
    mended = proof.refresh("ada", "ada@2", *_list_seen(proof, kept))
    assert "ada@2" in mended[proof.PROOF_HTML]
    remove_person("ada").require_complete()
    gone = proof.refresh("ada", "ada@1", *_list_seen(proof, kept))
    assert get(gone, proof.PROOF_VERSION_DROPDOWN) is None
    assert not get(gone, proof.PROOF_ACTIVATE_BUTTON, "visible")


def _list_seen(proof: ModuleType, shown: dict[Any, Any]) -> list[str]:
    return [shown[proof.NEWEST_TEXTBOX], shown[proof.SEEN_TEXTBOX]]


def test_what_cannot_be_shown_is_said(
    proof: ModuleType, runs: list[Run], person: Person, tmp_path: Path
) -> None:
    assert "There is no finished model yet" in proof.refresh(None, None, "", "")[proof.PROOF_HTML]
    path = runs[1].report_json_path
    for text in ("{", "[]", "{}", '{"sentence": 3}', "\xff"):
        path.write_text(text, "latin-1")
        assert "cannot be read" in proof.refresh(*UNSEEN)[proof.PROOF_HTML]
    path.unlink()
    assert "There is no report of ada@2" in proof.refresh(*UNSEEN)[proof.PROOF_HTML]
    write_report(runs[1], sentence="<script>alert(1)</script>", notes=["<b>"])
    text = proof.refresh(*UNSEEN)[proof.PROOF_HTML]
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    (runs[0].directory / "config.toml").write_text("damaged")
    shown = proof.refresh(*UNSEEN)
    assert str(runs[0].record_path) in shown[proof.PROOF_HTML]
    assert get(shown, proof.PROOF_VERSION_DROPDOWN) == "ada@2"


def test_imported_version_has_no_report(
    proof: ModuleType, runs: list[Run], person: Person, tmp_path: Path
) -> None:
    made = export_model(person, runs[0], tmp_path / "jane.onnx", standalone=True)
    import_model(made.path, "ada", [])
    shown = proof.refresh(*UNSEEN)
    assert get(shown, proof.PROOF_VERSION_DROPDOWN) == "ada@3"
    assert "originally ada@1" in shown[proof.PROOF_HTML]
    assert "unproven here" in shown[proof.PROOF_HTML]
    assert get(shown, proof.PROOF_FORCE_CHECKBOX, "visible")
    assert not get(shown, proof.PROOF_PICTURES_ACCORDION, "visible")


def test_unproven_version_needs_the_tick(
    proof: ModuleType, runs: list[Run], linked_host: Path, said: list[str]
) -> None:
    with pytest.raises(UsageError, match="ACTIVATE ANYWAY"):
        proof.activate("ada", "ada@2", False)
    assert list_active(linked_host) == []
    proof.activate("ada", "ada@2", True)
    assert list_active(linked_host) == [2]
    assert "marked unproven" in said[-1]
    shown = proof.activate("ada", "ada@1", False)
    assert list_active(linked_host) == [1]
    assert "unproven" not in said[-1]
    assert "ACTIVE" in shown[proof.PROOF_HTML]
