"""Trackers beside metrics.jsonl."""

import importlib.util
from pathlib import Path

import pytest

from facefusion_finetune.errors import UsageError
from facefusion_finetune.training.engine.accelerator import create_accelerator
from facefusion_finetune.training.engine.trackers import flatten
from facefusion_finetune.training.request import TRACKERS, TrainRequest
from tests.support.tiny_training import TinyWorld


def _is_installed(name: str) -> bool:
    return any(importlib.util.find_spec(module) for module in TRACKERS[name])


def test_unknown_tracker() -> None:
    with pytest.raises(UsageError, match="Use one of tensorboard, mlflow"):
        TrainRequest(trackers=("tensorbord",)).check()


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_missing_tracker_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(UsageError) as caught:
        TrainRequest(trackers=(name,)).check()
    assert f"pip install 'facefusion-finetune[{name}]'" in caught.value.todo


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_tracker_writes_into_the_runs_folder(name: str, tmp_path: Path) -> None:
    if not _is_installed(name):
        pytest.skip(f"{name} is not installed")
    TrainRequest(trackers=(name,)).check()
    folder = tmp_path / "trackers"
    world = TinyWorld(tmp_path, accelerator=create_accelerator("fp32", [name], folder))
    world.train()
    assert world.notes == []
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > 100
    assert len(world.read_metrics()) == 12


class _Tracker:
    """Stands for one whose server is gone after the second step."""

    name = "tracker"

    def __init__(self) -> None:
        self.logged: list[int] = []

    def log(self, values: dict[str, float], step: int, **_: object) -> None:
        if step > 2:
            raise ConnectionError("the server is gone")
        assert "loss" in values
        self.logged.append(step)

    def finish(self) -> None:
        raise ConnectionError("still gone")


def test_tracker_that_fails_ends_no_run(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path)
    tracker = _Tracker()
    world.accelerator.trackers = [tracker]
    world.train()
    assert tracker.logged == [1, 2]
    assert len(world.read_metrics()) == 12
    assert world.notes == [
        "Trackers failed to log (the server is gone) and are off; see metrics.jsonl."
    ]


def test_settings_as_plain_values() -> None:
    given = {"seed": 1, "train": ["a", "b"], "judge": None, "preset": {"pairs": {"cycle": 5.0}}}
    assert flatten(given) == {"seed": 1, "train.count": 2, "preset.pairs.cycle": 5.0}
