"""A job of the queue that asks a real FaceFusion, in a process of its own."""

from pathlib import Path

import pytest

from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.dataset.review.thumbnails import thumbnail_path
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import Job
from facefusion_finetune.people.profile import Person
from tests.support import host as support
from tests.support.job_processes import read_error, wait_for_end

pytestmark = pytest.mark.host


def test_extraction_with_the_settings_of_the_page(
    person: Person, linked_host: Path, target_image: Path
) -> None:
    def submit(**settings: object) -> Job:
        arguments = {"paths": [str(target_image)]}
        return queue.submit(
            person, "extract", arguments, linked_host, {**support.BENCH_SETTINGS, **settings}
        )

    wrong = submit(face_detector_model="none_such")
    blind = submit(face_detector_score=1.0)
    good = submit(face_mask_padding=[1, 2, 3, 4])
    wait_for_end(wrong, blind, good)
    assert "does not accept them" in read_error(wrong)
    assert "no face was found" in read_error(blind)
    assert good.state.status == "done", good.read_log()
    (record,) = read_manifest(person)
    assert thumbnail_path(person, record.id).is_file()
    assert "Starting FaceFusion" in good.read_log()
