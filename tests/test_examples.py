"""The examples run as they stand, and need nothing but the public functions."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy

from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.world import write_footage

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_tune_from_python(tmp_path: Path) -> None:
    footage, other = tmp_path / "footage", tmp_path / "other"
    write_footage(footage, FIRST_UNSEEN_SEED, shots=12, frames_per_shot=3, seed=1)
    write_footage(other, FIRST_UNSEEN_SEED + 1, shots=2, frames_per_shot=3, seed=2)
    target = other / "shot-001" / "frame-0001.png"
    swapped = tmp_path / "swapped.png"
    options = ["--others", other, "--faces", "demo", "--base", "demo"]
    command = ["tune_from_python.py", "ada", footage, target, swapped, *options]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=EXAMPLES,
        env={**os.environ, "FACEFUSION_FINETUNE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "36 crops of 12 shots"
    assert "held-out footage" in lines[-2]
    assert lines[-1].startswith("ada@1 ")
    before, after = cv2.imread(str(target)), cv2.imread(str(swapped))
    moved = numpy.abs(after.astype(int) - before).max(axis=2) > 8
    assert 0.01 < moved.mean() < 0.6, "the face is swapped, and the rest stays"


def test_examples_use_nothing_else_of_the_package() -> None:
    for path in EXAMPLES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("facefusion_f"):
                assert node.module == "facefusion_finetune", path
                assert [alias.name for alias in node.names] == ["api"], path
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                assert not any(name.startswith("facefusion_finetune") for name in names), path
