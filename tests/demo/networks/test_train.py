"""Making the networks anew, for a few steps."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from facefusion_finetune.demo.networks.train import STEPS, train_demo

FILES = ("recogniser.onnx", "judge.onnx", "reader.onnx", "swapper.onnx", "others.npy")

FEW = {
    "reading.BATCH": 8,
    "reading.NEW_PER_STEP": 8,
    "reading.GROUPS": 4,
    "reading.FITTED": 2,
    "swapping.BATCH": 4,
    "swapping.PICTURES": 2,
    "figures.PICTURES": 2,
    "figures.DETAILS": 2,
    "figures.PEOPLE": 8,
    "figures.SIBLINGS": 8,
    "figures.SWAPS": 4,
}
"""Of everything, so that a network is made in seconds."""


@pytest.fixture(scope="module", autouse=True)
def few_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FEW.items():
            patch.setattr(f"facefusion_finetune.demo.networks.{name}", value)
        yield


def train(output: Path, seed: int) -> dict[str, bytes]:
    train_demo(output, seed, dict.fromkeys(STEPS, 2), people=64)
    return {name: (output / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def trained(few_pictures: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, 3)
    return folder


def test_the_same_seed_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    first = {name: (trained / name).read_bytes() for name in FILES}
    assert train(tmp_path / "again", 3) == first
    other = train(tmp_path / "other", 4)
    assert all(other[name] != first[name] for name in FILES)


def test_it_writes_checked_graphs_and_a_log(trained: Path) -> None:
    for name in FILES[:4]:
        onnx.checker.check_model(onnx.load(trained / name), full_check=True)
    log = json.loads((trained / "training_log.json").read_text())
    for name in STEPS:
        stage = log["stages"][name]
        assert stage["settings"] == {"seed": 3, "steps": 2, "people": 64, "threads": 1}
        # recogniser and swapper go on with parts of other aims
        more = {"recogniser": 2, "swapper": 1}.get(name, 0)
        assert stage["losses"][-1]["step"] == 2 + more
    assert not list(trained.glob("*_log.json.part"))
    assert sorted(path.name for path in trained.iterdir()) == sorted([*FILES, "training_log.json"])


def test_the_command_refuses_unknown_stages(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "facefusion_finetune.demo.networks.train",
        "--output",
        str(tmp_path),
    ]
    command += ["--stages", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
