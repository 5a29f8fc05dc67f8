"""The measured: honest figures, and no trace."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.training.dry_run import (
    create_table,
    format_bytes,
    measure_steps,
)
from tests.support.tiny_training import TinyWorld, are_same


def test_a_dry_run_leaves_everything_as_it_was(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path, validate_every=4, learning_rate=0.5)
    weights = {n: t.detach().clone() for n, t in world.swapper.trained.items()}
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    measured = measure_steps(world.create_trainer(), {"cycle": 5, "self": 50}, cache_bytes=3000)
    assert are_same(dict(world.swapper.trained), weights)
    assert all(tensor.grad is None for tensor in world.swapper.trained.values())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    assert [step for step, _ in world.feed.runs] == [0, 1]
    assert are_same(world.train(), TinyWorld(tmp_path / "plain", **_SETTINGS).train())
    assert measured.parameters == 6 * 3 * 9 + 6 + 3 * 6 * 9 + 3
    assert measured.trained["one.weight"] == [6, 3, 3, 3]
    assert (measured.batch_size, measured.micro_batch, measured.processes) == (4, 4, 1)
    assert (measured.device, measured.precision) == ("cpu", "fp32")
    # A process with PyTorch in it has some hundred megabytes.
    assert 5e7 < measured.peak_bytes < 1e11
    looks = 4
    expected = 12 * measured.seconds_per_step + looks * measured.seconds_per_look
    assert measured.seconds == pytest.approx(expected)


_SETTINGS = {"validate_every": 4, "learning_rate": 0.5}


def test_what_is_told(tmp_path: Path) -> None:
    trainer = TinyWorld(tmp_path).create_trainer()
    measured = measure_steps(trainer, {"self": 50, "prior": 0}, 2 * 10**9)
    values = json.loads(json.dumps(measured.as_dict()))
    assert (values["tensors"], values["parameters"]) == (4, 333)
    assert values["pairs"] == {"self": 50, "prior": 0}
    text = io.StringIO()
    Console(file=text, width=100).print(create_table(measured))
    for part in ("333 parameters", "one.weight", "50 self", "2 GB", "cpu, fp32", "12 steps"):
        assert part in text.getvalue()
    assert "prior" not in text.getvalue()


def test_a_batch_that_does_not_fit_is_found_out(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path)

    def refuse(step: int, output: object) -> object:
        if len(output) > 1:  # type: ignore[arg-type]
            raise MemoryError
        return output

    world.feed.spoil = refuse  # type: ignore[assignment]
    assert measure_steps(world.create_trainer(), {}).micro_batch == 1


def test_weights_come_back_after_a_fault(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path)
    weights = {n: t.detach().clone() for n, t in world.swapper.trained.items()}
    world.feed.spoil = lambda step, output: output / (1 - step)
    with pytest.raises(TrainingError, match="NaN or infinite"):
        measure_steps(world.create_trainer(), {})
    assert are_same(dict(world.swapper.trained), weights)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (4e9, "4 GB"), (2e15, "2e+03 TB")],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert format_bytes(int(count)) == text
