"""Damaged models do no harm, and harm would be noticed. The long run: python -m tests.fuzz."""

import subprocess
import sys
from pathlib import Path
from random import Random

import onnx

from tests.fuzz import ROOT, Report, describe, run, write_seeds
from tests.fuzz.worker import PLANTED_AT, PLANTS, make_mutant
from tests.support.mutate import mutate

COUNT = 120


def test_damaged_models_do_no_harm(tmp_path: Path) -> None:
    report = run(COUNT, 12, tmp_path)
    assert not report.failures, list(describe(report))
    assert report.count == COUNT
    # Else the damage is too coarse to get past the first check.
    assert len(report.reasons) >= 15, list(describe(report))
    assert report.states["converted"] >= 2
    assert report.states["accepted"] >= 5
    assert report.states["refused"] >= COUNT // 2


NOTICED = (
    "KeyError: 'planted'",
    "it opened",
    "pickle.find_class",
    "MemoryError",
    "the process died with -6",
    "it hangs",
)


def test_harm_is_noticed(tmp_path: Path) -> None:
    count = len(PLANTS) + 2
    report = run(count, 12, tmp_path, plant=True, first=PLANTED_AT - 1, longest=1.0)
    found = {failure["index"]: failure["reason"] for failure in report.failures}
    assert list(found) == list(range(PLANTED_AT, PLANTED_AT + len(PLANTS)))
    for (index, reason), expected in zip(found.items(), NOTICED, strict=True):
        assert expected in reason, found
        assert (tmp_path / f"12-{index}.onnx").stat().st_size > 0
    assert report.count == count, "it goes on afterwards"


def test_same_seed_gives_the_same_damage(tmp_path: Path) -> None:
    write_seeds(tmp_path / "seeds")
    mutants = [make_mutant(tmp_path / "seeds", 3, index) for index in range(40)]
    assert mutants == [make_mutant(tmp_path / "seeds", 3, index) for index in range(40)]
    assert len({content for _, content in mutants}) > 35
    others = [make_mutant(tmp_path / "seeds", 4, index) for index in range(40)]
    assert mutants != others


def test_command_fails_where_harm_is_done(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--count", "4", "--keep", str(tmp_path)]
    done = subprocess.run(
        [*command, "--plant"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "FAILED  3: KeyError: 'planted'" in done.stdout
    assert "4 models:" in done.stdout


def test_report_counts_everything() -> None:
    report = Report()
    for index, state in enumerate(("refused", "refused", "accepted")):
        report.add(
            {"index": index, "state": state, "reason": "why", "processor_s": index, "peak_mb": 7}
        )
    lines = list(describe(report))
    assert lines[0] == "3 models: 2 refused, 0 failed, 0 converted, 1 accepted; peak memory 7 MB"
    assert lines[1].startswith("slowest: number 2 with 2.00 s")
    assert lines[2].split() == ["2", "why"]


def test_nothing_is_too_broken_to_be_damaged_further() -> None:
    for content in (b"", b"\x08", b"\xff" * 50, onnx.ModelProto().SerializeToString()):
        for seed in range(50):
            assert isinstance(mutate(content, content, Random(seed)), bytes)
