"""Scores of held-out frames while a training runs."""

from datetime import UTC, datetime
from pathlib import Path

import numpy
import pytest

from facefusion_finetune.evaluation.watching import Score, read_scores, write_score
from facefusion_finetune.runs.run import ImportRecord, Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run's folder."""
    record = ImportRecord(
        person="jane",
        version=1,
        created=datetime.now(UTC),
        package_version="0",
        base_name="inswapper_128",
        base_sha256="0",
        base_vendor="",
        base_licence="",
        consent_digest="0",
        dataset_digest="0",
        preset_name="fast",
        imported_at=datetime.now(UTC),
        origin="jane@1",
    )
    return Run(tmp_path, record)


def test_scores_are_means_by_step(run: Run) -> None:
    assert read_scores(run) == []
    write_score(run, 20, numpy.array([4.0, 6.0]), numpy.array([1.0, 2.0]))
    write_score(run, 10, numpy.array([5.0]), numpy.array([4.0]))
    assert read_scores(run) == [Score(10, 5.0, 4.0), Score(20, 5.0, 1.5)]


def test_step_that_is_done_again_counts_once_and_half_a_line_not_at_all(run: Run) -> None:
    write_score(run, 10, numpy.array([5.0]), numpy.array([4.0]))
    write_score(run, 10, numpy.array([5.0]), numpy.array([3.0]))
    with (run.directory / "held_out.jsonl").open("a") as file:
        file.write('{"step": 20, "base": 5.0, "tu')
    assert read_scores(run) == [Score(10, 5.0, 3.0)]
    write_score(run, 20, numpy.array([5.0]), numpy.array([2.0]))
    assert (run.directory / "held_out.jsonl").read_text().splitlines() == [
        '{"step": 10, "base": 5.0, "tuned": 3.0}',
        '{"step": 20, "base": 5.0, "tuned": 2.0}',
    ]
