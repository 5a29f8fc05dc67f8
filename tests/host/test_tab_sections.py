"""What the sections of the finetune tab say and do, by their own functions."""

import importlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import pytest

from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.errors import FinetuneError, UsageError
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import Failure, Job, JobState
from facefusion_finetune.people.profile import Person, add_person, create_consent, load_person

pytestmark = pytest.mark.host


CHOSEN = ("inswapper_128", "fast", 0, "auto", False, "4GB", [])
"""Base, preset, seed, and how a training is carried out."""


@pytest.fixture
def uis(processor: ModuleType, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The page's modules, rendered; nobody works on what is queued."""
    gradio = importlib.import_module("gradio")
    from facefusion_finetune.facefusion.uis import (
        crops_view,
        embed,
        page,
        people_text,
        progress,
        recipe_text,
        run_view,
    )
    from facefusion_finetune.facefusion.uis.components import (
        finetune_export,
        finetune_footage,
        finetune_person,
        finetune_recipe,
        finetune_report,
        finetune_training,
        finetune_versions,
    )
    from facefusion_finetune.facefusion.uis.layouts import finetune

    monkeypatch.setattr(queue, "ensure_runner", lambda: None)
    with gradio.Blocks():
        finetune.render()
    said: list[str] = []
    for name in ("warn", "inform"):
        monkeypatch.setattr(page, name, said.append)
    return SimpleNamespace(
        **{"crops_view": crops_view, "recipe_text": recipe_text, "people_text": people_text},
        **{"progress": progress, "run_view": run_view, "page": page, "said": said},
        **{"footage": finetune_footage, "recipe": finetune_recipe},
        **{"person": finetune_person, "training": finetune_training, "gradio": gradio},
        **{"report": finetune_report, "versions": finetune_versions, "export": finetune_export},
        embed=embed,
    )


@pytest.fixture
def ruth(uis: SimpleNamespace) -> Person:
    """Somebody with 30 drawn crops, three of them rejected."""
    from tests.support.crops import add_person_with_crops

    return add_person_with_crops("ruth", 30)


def _submit(person: Person, kind: Any = "train", **arguments: Any) -> Job:
    if kind == "extract":
        arguments = {"paths": ["/footage"], **arguments}
    return queue.submit(person, kind, arguments)


# persons


def test_person_is_recorded_with_the_consent_of_the_form(
    uis: SimpleNamespace, tmp_path: Path
) -> None:
    form = tmp_path / "upload" / "form.pdf"
    form.parent.mkdir()
    form.write_bytes(b"signed")
    shown = uis.person.add_person(" ruth ", " ", str(form), "a test", "2999-12-31")
    consent = load_person("ruth").require_consent()
    assert (consent.kind, consent.text, consent.scope) == ("file", "form.pdf", "a test")
    assert str(consent.expires) == "2999-12-31"
    assert not form.parent.exists(), "no copy of what was signed stays"
    assert shown[uis.person.NAME_TEXTBOX] == ""
    assert shown[uis.person.PERSON_DROPDOWN].value == "ruth"
    text = uis.people_text.describe_person("ruth")
    assert "form.pdf" in text
    assert "2999-12-31" in text


@pytest.mark.parametrize(
    ("name", "note", "file", "expires", "words"),
    [
        ("ruth", "", None, "", "exactly one proof"),
        ("ruth", "She agreed.", "form.pdf", "", "exactly one proof"),
        ("", "She agreed.", None, "", "name"),
        ("../ruth", "She agreed.", None, "", "name"),
        ("ruth", "She agreed.", None, "soon", "not a valid date"),
        ("ruth", "She agreed.", None, "2001-01-01", "past"),
    ],
)
def test_form_that_is_not_filled_records_nobody(
    uis: SimpleNamespace,
    home_folder: Path,
    name: str,
    note: str,
    file: Any,
    expires: str,
    words: str,
) -> None:
    with pytest.raises(FinetuneError, match=words):
        uis.person.add_person(name, note, file, "", expires)
    assert not list(home_folder.glob("people/*"))


def test_expired_consent_is_said_and_can_be_renewed(uis: SimpleNamespace) -> None:
    consent = create_consent(None, "She agreed.").model_copy(
        update={"expires": datetime.now(UTC).date() - timedelta(days=1)}
    )
    add_person("ruth", consent)
    assert "expired" in uis.people_text.describe_person("ruth")
    with pytest.raises(FinetuneError, match="expired"):
        uis.training.start("ruth", *CHOSEN, None, None)
    assert queue.list_jobs("ruth") == []
    uis.person.renew_consent("ruth", "She agreed again.", None, "", "")
    assert "She agreed again." in uis.people_text.describe_person("ruth")


def test_person_is_deleted_only_with_the_name_typed(
    uis: SimpleNamespace, ruth: Person, home_folder: Path
) -> None:
    add_person("joan", create_consent(None, "She agreed."))
    for typed in ("", "joan", "Jane"):
        with pytest.raises(UsageError, match="name was not typed"):
            uis.person.delete_person("ruth", typed)
    assert ruth.directory.is_dir()
    shown = uis.person.delete_person("ruth", "ruth")
    assert not ruth.directory.exists()
    assert shown[uis.person.PERSON_DROPDOWN].value == "joan"
    assert uis.person.show("ruth")[uis.person.PERSON_DROPDOWN].value == "joan"


def test_damaged_record_is_said_and_breaks_nothing(uis: SimpleNamespace, ruth: Person) -> None:
    (ruth.directory / "person.toml").write_text("name = ")
    assert "damaged" in uis.people_text.describe_person("ruth")
    assert uis.crops_view.create_view("ruth", "all").html == ""
    assert uis.run_view.find_shown_run("ruth") is None
    assert uis.run_view.can_resume("ruth") is False
    assert "damaged" in uis.said[0]


# footage


def test_extraction_takes_the_uploads_along(
    uis: SimpleNamespace, ruth: Person, tmp_path: Path
) -> None:
    for name in ("clip.mp4", "look.png"):
        (tmp_path / name).write_text(name)
    uis.footage.extract(
        "ruth", [str(tmp_path / "clip.mp4")], None, "", [str(tmp_path / "look.png")], 4.0, 900, True
    )
    (job,) = queue.list_jobs("ruth")
    arguments = job.request.arguments
    assert job.request.kind == "extract"
    assert (arguments["frames_per_second"], arguments["most_frames"]) == (4.0, 900)
    assert arguments["keep_others"] is True
    (footage,), (look,) = arguments["paths"], arguments["references"]
    assert (Path(footage) / "clip.mp4").read_text() == "clip.mp4"
    assert Path(look).read_text() == "look.png"
    assert not (tmp_path / "clip.mp4").exists()
    assert job.request.settings["face_detector_model"] == "yunet"


def test_nothing_to_extract_is_said(uis: SimpleNamespace, ruth: Person) -> None:
    with pytest.raises(UsageError, match="none was selected"):
        uis.footage.extract("ruth", None, None, "", None, 6.0, 1800, False)
    assert not list(ruth.directory.glob("jobs/*"))


def test_failed_submission_leaves_no_folder(
    uis: SimpleNamespace, ruth: Person, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="gone"):
        uis.footage.extract("ruth", [str(tmp_path / "gone.mp4")], None, "", None, 6.0, 1800, False)
    assert not list(ruth.directory.glob("jobs/*"))


def test_gallery_filters_and_decisions_change_the_crops(uis: SimpleNamespace, ruth: Person) -> None:
    view = uis.crops_view.create_view("ruth", "all")
    assert len(view.shown) == view.html.count("<img") == 30
    assert len(uis.crops_view.create_view("ruth", "kept").shown) == 27
    rejected = uis.crops_view.create_view("ruth", "rejected")
    assert rejected.html.count("is-rejected") == 3
    assert uis.crops_view.label_filters(view.records) == [
        ("all (30)", "all"),
        ("kept (27)", "kept"),
        ("rejected (3)", "rejected"),
    ]
    first, second = (record.id for record in view.shown[:2])
    before = (ruth.directory / "coverage.json").read_text()
    uis.footage.reject("ruth", [first, second])
    kept = {record.id: record.kept for record in read_manifest(ruth)}
    assert (kept[first], kept[second]) == (False, False)
    assert (ruth.directory / "coverage.json").read_text() != before
    uis.footage.restore("ruth", [first])
    assert "1 crops restored; 26 kept" in uis.said[-1]
    for ids in ([], None):
        with pytest.raises(UsageError, match="none are selected"):
            uis.footage.reject("ruth", ids)


def test_gallery_follows_thumbnails_that_come_after_the_crops(
    uis: SimpleNamespace, ruth: Person
) -> None:
    from facefusion_finetune.dataset.review.thumbnails import thumbnail_path, write_thumbnails

    records = read_manifest(ruth)
    thumbnail_path(ruth, records[0].id).unlink()
    assert len(uis.crops_view.create_view("ruth", "all").shown) == 29
    before = uis.footage.fingerprint_crops("ruth", "all")
    write_thumbnails(ruth, records)
    assert uis.footage.fingerprint_crops("ruth", "all") != before
    assert len(uis.crops_view.create_view("ruth", "all").shown) == 30


def test_pictures_of_the_gallery_are_served_from_where_they_lie(
    uis: SimpleNamespace, ruth: Person
) -> None:
    from gradio.utils import is_static_file

    view = uis.crops_view.create_view("ruth", "kept")
    path = ruth.directory / "shown" / f"{view.shown[0].id}.jpg"
    assert f"file={path}" in view.html
    assert is_static_file(path)
    # and nothing else of the person is
    assert not is_static_file(str(ruth.directory / "person.toml"))
    assert not is_static_file(str(next((ruth.directory / "crops").glob("*.png"))))


ELSEWHERE = ("../../evil", "a/b", "..", "/", "*", "a\0b", "x" * 300, "jane@" + "9" * 5000)
"""What a forged request may give as the name of a person."""


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_name_shows_what_lies_elsewhere(
    uis: SimpleNamespace, ruth: Person, home_folder: Path, name: str
) -> None:
    """The folder that the name leads to has all that a person's has."""
    evil = home_folder.parent / "evil"
    shutil.copytree(ruth.directory, evil)
    assert (home_folder / "people" / "../../evil/coverage.png").is_file()
    _submit(ruth, "extract")
    served = set(uis.embed.SERVED)
    assert uis.crops_view.create_view(name, "all").html == ""
    assert uis.versions.follow_person(name, None, None) == uis.gradio.skip()
    assert uis.export.refresh(f"{name}@1", "")[uis.export.EXPORT_LINKS_HTML] == ""
    for use in (
        uis.crops_view.draw_coverage,
        uis.crops_view.fingerprint_crops,
        lambda name: uis.footage.show_crops(name, "all"),
        uis.footage.show_job,
        uis.training.show_job,
        uis.run_view.fingerprint_run,
        uis.run_view.can_resume,
        uis.people_text.fingerprint_person,
        uis.people_text.require_person,
        uis.report.choose,
    ):
        with pytest.raises(UsageError, match="only letters, digits") as caught:
            use(*([name, None] if use is uis.report.choose else [name]))
        assert len(str(caught.value)) < 1000
    for version in ("ruth@" + "9" * 5000, "ruth@", "ruth@x", "@", "ruth"):
        assert uis.export.refresh(version, "")[uis.export.EXPORT_LINKS_HTML] == ""
    assert served == uis.embed.SERVED


@pytest.mark.parametrize(
    ("base", "preset"),
    [
        ("/etc/hosts.onnx", "fast"),
        ("inswapper_128", "/etc/own.toml"),
        ("inswapper_128", "../x.toml"),
    ],
)
def test_no_file_is_read_as_a_base_or_a_preset(
    uis: SimpleNamespace, ruth: Person, base: str, preset: str
) -> None:
    chosen = (base, preset, *CHOSEN[2:], None, None)
    for use in (
        lambda: uis.recipe.show("ruth", base, preset),
        lambda: uis.recipe.measure_time("ruth", base, preset),
        lambda: uis.training.start("ruth", *chosen),
    ):
        with pytest.raises(UsageError, match="the page does not offer them"):
            use()
    assert queue.list_jobs("ruth") == []


@pytest.mark.parametrize("seed", [None, -1, 1.5, float("nan"), float("inf"), 1e308])
def test_a_seed_that_is_none_is_said(uis: SimpleNamespace, ruth: Person, seed: Any) -> None:
    with pytest.raises(FinetuneError, match="train with seed"):
        uis.training.start("ruth", *CHOSEN[:2], seed, *CHOSEN[3:], None, None)
    assert queue.list_jobs("ruth") == []


def test_a_selection_that_is_no_list_of_ids_is_said(uis: SimpleNamespace, ruth: Person) -> None:
    for ids in ([7], [None], [["a"]]):
        with pytest.raises(UsageError, match="none are selected"):
            uis.footage.reject("ruth", ids)


# jobs


@pytest.mark.parametrize(
    ("written", "words", "is_open"),
    [
        (JobState(), ["In the queue, 1 job ahead"], True),
        (
            JobState(status="done", result={"sentence": "It is better."}),
            ["It is better."],
            False,
        ),
        (
            JobState(status="stopped", notes=["Resume it."]),
            ["nothing is lost", "Resume it."],
            False,
        ),
        (
            JobState(status="failed", error=Failure(given="step 3", why="no <room>.", todo="Go.")),
            ["Failed.", "step 3: no &lt;room&gt;. Go.", "the last line"],
            False,
        ),
    ],
)
def test_job_is_described(
    uis: SimpleNamespace, ruth: Person, written: JobState, words: list[str], is_open: bool
) -> None:
    _submit(add_person("joan", create_consent(None, "She agreed.")))
    job = _submit(ruth)
    job.log_path.write_text("one line\nthe last line\n")
    if written.status != "queued":
        job.write_state(written)
    drawn = uis.progress.draw_latest_job("ruth", ("train",))
    for word in words:
        assert word in drawn.html
    assert drawn.is_open is is_open


def test_running_job_shows_how_far_it_is(uis: SimpleNamespace, ruth: Person) -> None:
    from facefusion_finetune import locks

    job = _submit(ruth)
    with locks.hold(job.lock_path):
        job.write_state(
            JobState(status="running", stage="Training", done=20, total=80, seconds_left=65.0)
        )
        drawn = uis.progress.draw_latest_job("ruth", ("train",))
        assert "Training, 20 of 80, 1:05 left" in drawn.html
        assert 'aria-valuenow="25"' in drawn.html
        assert drawn.is_open
        with pytest.raises(UsageError, match="already queued or running"):
            uis.training.start("ruth", *CHOSEN, None, None)
        uis.training.stop("ruth")
        assert "Stopping" in uis.progress.draw_latest_job("ruth", ("train",)).html


def test_extraction_says_what_came_of_it(uis: SimpleNamespace, ruth: Person) -> None:
    job = _submit(ruth, "extract")
    result = {
        **{"kept": 3, "faces": 5, "frames": 6, "total_kept": 30, "rejected": {"blurred": 2}},
        **{"known_sources": 1, "others": 2},
    }
    job.write_state(JobState(status="done", result=result))
    text = uis.progress.draw_latest_job("ruth", ("extract",)).html
    for words in (
        "3 of 5 faces in 6 frames",
        "30 crops in total",
        "2 blurred",
        "1 files",
        "2 other",
    ):
        assert words in text
    assert uis.progress.draw_latest_job("ruth", ("train",)).html == ""


def test_training_is_queued_with_what_was_chosen(
    uis: SimpleNamespace, ruth: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEFUSION_FINETUNE_JUDGE", "/judge.onnx")
    monkeypatch.setenv("FACEFUSION_FINETUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "other.png").write_text("other")
    chosen = ("simswap_256", "thorough", 3.0, "bf16", True, " 2 GB ", ["tensorboard"])
    uis.training.start("ruth", *chosen, [str(tmp_path / "other.png")], None)
    (job,) = queue.list_jobs("ruth")
    arguments = job.request.arguments
    assert (arguments["base"], arguments["preset"], arguments["seed"]) == (
        *("simswap_256", "thorough"),
        3,
    )
    assert (arguments["judge"], arguments["precision"]) == ("/judge.onnx", "bf16")
    assert (Path(arguments["targets"][0]) / "other.png").is_file()
    assert arguments["others"] == []
    assert (arguments["cache"], arguments["cache_size"]) == (str(tmp_path / "cache"), 2 * 10**9)
    assert arguments["trackers"] == ["tensorboard"]

    queue.request_stop(job)
    uis.training.resume("ruth", "auto", False, "", [])
    resumed = queue.list_jobs("ruth")[-1].request.arguments
    assert resumed["resume"] is True
    assert resumed["targets"] == arguments["targets"]
    assert resumed["judge"] == "/judge.onnx"
    assert (resumed["cache_size"], resumed["trackers"]) == (4 * 10**9, [])

    queue.request_stop(queue.list_jobs("ruth")[-1])
    with pytest.raises(UsageError, match="not a valid size"):
        uis.training.resume("ruth", "auto", False, "plenty", [])
    assert len(queue.list_jobs("ruth")) == 2


# bases, presets, curves


def test_bases_state_their_licence_and_those_at_hand_come_first(uis: SimpleNamespace) -> None:
    choices = uis.recipe_text.label_bases()
    assert len(choices) >= 13
    assert choices[0][1] == "inswapper_128"
    assert "Non-Commercial" in choices[0][0]
    labels = {name: label for label, name in choices}
    assert "not downloaded" in labels["ghost_1_256"]
    assert "may be used commercially" in uis.recipe_text.describe_base("ghost_1_256")
    assert "no commercial use" in uis.recipe_text.describe_base("inswapper_128")
    assert "no swapper named" in uis.recipe_text.describe_base("unheard_of")


def test_preset_states_its_gain_and_its_time_here(uis: SimpleNamespace, ruth: Person) -> None:
    text = uis.recipe_text.describe_preset("inswapper_128", "balanced")
    assert "+0.31" in text
    assert "11 of 12" in text
    assert "unknown; estimate it" in text
    assert "does not support this base" not in text
    assert "does not support this base" in uis.recipe_text.describe_preset("uniface_256", "fast")
    assert "The gain of this preset is unknown" in uis.recipe_text.describe_preset(
        "inswapper_128", "thorough"
    )
    job = _submit(ruth, "estimate", base="inswapper_128", preset="balanced")
    ended = datetime(2026, 5, 3, tzinfo=UTC)
    job.write_state(
        JobState(status="done", started=ended, ended=ended, result={"seconds_total": 754.0})
    )
    text = uis.recipe_text.describe_preset("inswapper_128", "balanced")
    assert "about 12:34, estimated on 2026-05-03" in text


def test_curves_follow_what_a_run_has_written(
    uis: SimpleNamespace, ruth: Person, make_run: Callable[[Person], Any]
) -> None:
    assert uis.run_view.create_curves(None).loss.empty
    run = make_run(ruth)
    assert uis.run_view.find_shown_run("ruth").reference == "ruth@1"
    before = uis.run_view.fingerprint_run("ruth")
    for step in range(1, 1001):
        run.log(step, {"loss": 1 / step})
    run.log(1000, {"note": "no loss in this line"})
    with (run.directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10')
    from facefusion_finetune.evaluation.watching import write_score

    write_score(run, 500, numpy.array([9.0]), numpy.array([7.0]))
    curves = uis.run_view.create_curves(run)
    assert 400 <= len(curves.loss) <= 500
    assert curves.loss["loss"].iloc[0] == 1
    assert sorted(curves.score["score"]) == [7, 9, 9, 9], "before any step both are the base"
    assert uis.run_view.fingerprint_run("ruth") != before
    folder = run.directory / "previews"
    assert uis.run_view.find_grid(run) is None
    for name in ("step_000010.png", "step_000020.png"):
        (folder / name).write_bytes(b"")
    assert uis.run_view.find_grid(run).name == "step_000020.png"
    (folder / "held_out.png").write_bytes(b"")
    assert uis.run_view.find_grid(run).name == "held_out.png"
    assert uis.run_view.can_resume("ruth")


@pytest.fixture
def make_run() -> Callable[[Person], Any]:
    """Begins a run of somebody."""
    from facefusion_finetune import __version__
    from facefusion_finetune.presets.preset import load_preset
    from facefusion_finetune.runs.run import RunConfig, create_run

    def make(person: Person) -> Any:
        config = RunConfig(
            **{"person": person.name, "version": 1, "created": datetime.now(UTC)},
            **{"package_version": __version__, "analyser": "demo", "base_name": "inswapper_128"},
            **{"base_argument": "inswapper_128", "base_sha256": "0", "base_vendor": ""},
            **{"base_licence": "", "consent_digest": "0", "dataset_digest": "0"},
            **{"preset_name": "fast", "seed": 0, "train": [], "held_out": []},
            preset=load_preset("fast"),
        )
        return create_run(person, config)

    return make


def test_options_of_commands_are_named_as_on_the_page(uis: SimpleNamespace, ruth: Person) -> None:
    from facefusion_finetune.evaluation.build import SELF_GRADED, STAND_IN_TARGETS

    job = _submit(ruth)
    resume = "Resume with: facefusion-finetune train ruth --resume."
    error = Failure(given="run", why="--commercial is asked for.", todo=resume)
    notes = [SELF_GRADED, STAND_IN_TARGETS, "Extract with --reference FILE."]
    job.write_state(JobState(status="failed", error=error, notes=notes))
    said = uis.progress.draw_job(job)
    assert "--" not in said
    for words in (
        "give one with FACEFUSION_FINETUNE_JUDGE.",
        "was given (EVALUATION FOOTAGE OF OTHER PEOPLE)",
        "with PICTURE OF THE PERSON.",
        "ONLY BASES THAT ALLOW COMMERCIAL USE is asked for. Resume with: RESUME.",
    ):
        assert words in said

    def fail() -> None:
        raise UsageError("this", "it is wrong.", "Give --targets.")

    uis.page.guard(fail)()
    assert uis.said == ["this: it is wrong. Give EVALUATION FOOTAGE OF OTHER PEOPLE."]


def test_uploads_are_named_without_the_folder_they_were_moved_to(
    uis: SimpleNamespace, ruth: Person
) -> None:
    job = _submit(ruth)
    clip = job.directory / "footage" / "clip.mp4"
    state = JobState(
        status="failed",
        error=Failure(given=str(clip), why="it is empty.", todo="Copy it again."),
        notes=[f"skipped: {clip}: it is empty."],
    )
    job.write_state(state)
    said = uis.progress.draw_job(job)
    assert "<li>skipped: clip.mp4: it is empty.</li>" in said
    assert ">clip.mp4: it is empty. Copy it again.<" in said


def test_callback_that_fails_changes_nothing_and_says_why(uis: SimpleNamespace) -> None:
    def fail() -> None:
        raise UsageError("this", "it is wrong.", "Mend it.")

    def fill_the_disk() -> None:
        raise OSError(28, "No space left on device", "/home/file")

    assert uis.page.guard(fail)() == uis.gradio.skip()
    assert uis.said == ["this: it is wrong. Mend it."]
    assert uis.page.guard(fill_the_disk)() == uis.gradio.skip()
    assert "No space left on device" in uis.said[1]
    with pytest.raises(ZeroDivisionError):
        uis.page.guard(lambda: 1 / 0)()
