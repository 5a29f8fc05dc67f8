"""Making the networks anew, for a few steps."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from facefusion_finetune.demo.train import STEPS, train_demo

FILES = ("recogniser.onnx", "judge.onnx", "reader.onnx", "swapper.onnx", "others.npy")


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facefusion_finetune.demo.swapping.BATCH", 4)
    monkeypatch.setattr("facefusion_finetune.demo.swapping.PICTURES", 2)
    monkeypatch.setattr("facefusion_finetune.demo.reading.FITTED", 2)
    monkeypatch.setattr("facefusion_finetune.demo.figures.PICTURES", 2)
    monkeypatch.setattr("facefusion_finetune.demo.figures.DETAILS", 2)
    monkeypatch.setattr("facefusion_finetune.demo.figures.PEOPLE", 8)
    monkeypatch.setattr("facefusion_finetune.demo.figures.SIBLINGS", 8)
    monkeypatch.setattr("facefusion_finetune.demo.figures.SWAPS", 4)


def train(output: Path, seed: int) -> dict[str, bytes]:
    train_demo(output, seed, dict.fromkeys(STEPS, 2), people=64)
    return {name: (output / name).read_bytes() for name in FILES}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = train(tmp_path / "first", 3)
    assert train(tmp_path / "again", 3) == first
    other = train(tmp_path / "other", 4)
    assert all(other[name] != first[name] for name in FILES)


def test_it_writes_checked_graphs_and_a_log(tmp_path: Path) -> None:
    train(tmp_path, 3)
    for name in FILES[:4]:
        onnx.checker.check_model(onnx.load(tmp_path / name), full_check=True)
    log = json.loads((tmp_path / "training_log.json").read_text())
    for name in STEPS:
        stage = log["stages"][name]
        assert stage["settings"] == {"seed": 3, "steps": 2, "people": 64, "threads": 1}
        # recogniser and swapper go on with parts of other aims
        more = {"recogniser": 2, "swapper": 1}.get(name, 0)
        assert stage["losses"][-1]["step"] == 2 + more
    assert not list(tmp_path.glob("*_log.json.part"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FILES, "training_log.json"])


def test_the_command_refuses_unknown_stages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "facefusion_finetune.demo.train", "--output", str(tmp_path)]
    command += ["--stages", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
