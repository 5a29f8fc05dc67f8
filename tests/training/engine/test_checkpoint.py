"""Checkpoints: a run killed at any moment ends as one that was never stopped."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from facefusion_finetune.damage import MAX_REASON
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.training.engine import checkpoint as module
from facefusion_finetune.training.engine.checkpoint import (
    DamagedCheckpointError,
    has_checkpoint,
    identify_run,
    load_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from tests.support.damage import DEPTH, DIGITS, LINE, damaged
from tests.support.forked import ForkServer
from tests.support.tiny_training import (
    TinyWorld,
    are_same,
    create_run,
    measure_difference,
)
from tests.support.waiting import HANGS

SETTINGS = {"steps": 20, "validate_every": 4, "patience": 99}
PROGRAM = """
import json, sys
from pathlib import Path
from tests.support.tiny_training import main
main(Path(sys.argv[1]), json.loads(sys.argv[2]))
"""
RETURNED = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
"""Lets malloc give each picture's memory back at once. What it keeps by itself differs from run to
run, and now and then left too little for two samples where memory is limited."""

Weights = dict[str, torch.Tensor]
Train = Callable[..., Weights]


@pytest.fixture(scope="module")
def train(fork_server: ForkServer) -> Train:
    """Trains in a process of its own; the weights, if it comes to its end."""

    def train(folder: Path, code: int = 0, **settings: object) -> Weights:
        done = fork_server.run(PROGRAM, folder, json.dumps(SETTINGS | settings))
        assert done.returncode == code, done.stderr
        return {} if code else torch.load(folder / "final.pt", weights_only=True)

    return train


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, train: Train) -> tuple[Weights, Path]:
    """Weights and folder of a run that was never stopped; its eleventh step fails once."""
    folder = tmp_path_factory.mktemp("whole")
    return train(folder, spoil=[10]), folder


def _choose_spoilt(folder: Path) -> list[int]:
    """The eleventh step, unless its failing was got over already."""
    path = folder / "last.safetensors"
    is_over = path.exists() and load_checkpoint(path).progress.rate_factor < 1
    return [] if is_over else [10]


@pytest.mark.parametrize("steps", [2, 7, 12])
def test_killed_anywhere_and_resumed_to_the_same_bits(
    whole: tuple[Weights, Path], train: Train, tmp_path: Path, steps: int
) -> None:
    """Killed at a step, then inside the write of a checkpoint, then left in peace.

    The step lies before the first checkpoint, between two, or after the one that failed.
    """
    train(tmp_path, -signal.SIGKILL, spoil=[10], kill_at=steps)
    folder = tmp_path / "checkpoints"
    train(tmp_path, -signal.SIGKILL, spoil=_choose_spoilt(folder), kill_in_write=3)
    assert len(list(folder.glob(".*.part"))) == 1, "the half that was written"
    weights = train(tmp_path, spoil=_choose_spoilt(folder))
    assert are_same(weights, whole[0])
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["last.safetensors", "previous.safetensors"]
    last, expected = (
        load_checkpoint(part / "checkpoints" / "last.safetensors") for part in (tmp_path, whole[1])
    )
    assert last.progress == expected.progress
    assert last.progress.rate_factor == 0.5
    assert len(last.progress.scores) == 6
    for group in ("weights", "average", "best", "moments"):
        assert are_same(getattr(last, group), getattr(expected, group)), group


def _start(folder: Path, *settings: str) -> Weights:
    """Train in a process whose malloc is told from the start what to do; the weights."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.tiny_training", str(folder), *settings],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **RETURNED},
        check=False,
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "final.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures what this process has in /proc")
def test_a_real_lack_of_memory_ends_in_smaller_parts(tmp_path: Path) -> None:
    settings = ("size=700", "steps=1")
    enough = _start(tmp_path / "enough", *settings)
    scarce = _start(tmp_path / "scarce", *settings, "megabytes=230")
    parts = load_checkpoint(tmp_path / "scarce/checkpoints/last.safetensors").progress.micro_batch
    assert parts == 2
    assert "did not fit into memory" in (tmp_path / "scarce" / "notes.json").read_text()
    assert "memory" not in (tmp_path / "enough" / "notes.json").read_text()
    assert measure_difference(enough, scarce) < 1e-5


def _train_some(folder: Path) -> TinyWorld:
    """A run of eight steps, with checkpoints after the third, sixth and eighth."""
    world = TinyWorld(folder, steps=8)
    world.train()
    return world


@pytest.mark.parametrize("how", ["cut", "changed", "header", "gone"])
def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, how: str) -> None:
    world = _train_some(tmp_path)
    expected = {n: t.detach().clone() for n, t in world.swapper.trained.items()}
    path = world.run.checkpoint_path
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[:-100])
    else:
        # One bit in a weight, or in the count of steps.
        place = len(content) - 50 if how == "changed" else content.index(b'\\"step\\": 8') + 11
        content[place] ^= 1
        path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError):
        load_checkpoint(path)
    assert has_checkpoint(path)
    again = TinyWorld(tmp_path, steps=8)
    assert are_same(again.train(resume=True), expected)
    assert "Resuming from the previous one, step 6." in again.notes[0]
    assert [step for step, _ in again.feed.runs] == [6, 7]
    assert load_checkpoint(path.with_name("previous.safetensors")).step == 6


def test_nothing_whole_is_left(tmp_path: Path) -> None:
    path = _train_some(tmp_path).run.checkpoint_path
    for name in ("last", "previous"):
        file = path.with_stem(name)
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(TrainingError, match="checkpoint is damaged"):
        TinyWorld(tmp_path, steps=8).train(resume=True)
    for name in ("last", "previous"):
        path.with_stem(name).unlink()
    assert not has_checkpoint(path)
    with pytest.raises(TrainingError, match="before its first checkpoint"):
        TinyWorld(tmp_path, steps=8).train(resume=True)


def test_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    world = _train_some(tmp_path)
    path, preset = world.run.checkpoint_path, world.preset
    own = identify_run(world.run.config)
    base = identify_run(create_run(tmp_path / "other", preset, base="1" * 64).config)
    with pytest.raises(TrainingError, match="a different base"):
        restore_checkpoint(path, base, print)
    slower = preset.model_copy(update={"learning_rate": 1e-3})
    settings = identify_run(create_run(tmp_path / "slower", slower).config)
    with pytest.raises(TrainingError, match="different settings"):
        restore_checkpoint(path, settings, print)
    path.write_bytes(b"damaged")
    with pytest.raises(TrainingError, match="different settings"):
        restore_checkpoint(path, settings, print)
    assert path.read_bytes() == b"damaged", "nothing was put in its place"
    assert restore_checkpoint(path, own, lambda note: None)[0].step == 6


def test_settings_of_an_older_version_stay_the_same(tmp_path: Path) -> None:
    """A key that is at its default says nothing new."""
    config = create_run(tmp_path, TinyWorld(tmp_path / "world").preset).config
    explicit = config.model_copy(update={"judge": None})
    assert identify_run(explicit) == identify_run(config)
    other = config.model_copy(update={"seed": 1})
    assert identify_run(other) != identify_run(config)


def test_overwriting_keeps_the_one_before(tmp_path: Path) -> None:
    path = _train_some(tmp_path).run.checkpoint_path
    last = load_checkpoint(path)
    changed = replace(last, progress=replace(last.progress, rate_factor=0.25))
    save_checkpoint(path, changed, overwrite=True)
    assert load_checkpoint(path).progress.rate_factor == 0.25
    assert load_checkpoint(path.with_name("previous.safetensors")).step == 6


def test_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(module.os, "link", refuse)
    path = _train_some(tmp_path).run.checkpoint_path
    assert load_checkpoint(path.with_name("previous.safetensors")).step == 6
    assert load_checkpoint(path).step == 8


def test_checkpoint_of_other_tensors(tmp_path: Path) -> None:
    world = _train_some(tmp_path)
    path = world.run.checkpoint_path
    last = load_checkpoint(path)
    save_checkpoint(path, replace(last, average={"one.bias": torch.zeros(6)}))
    with pytest.raises(TrainingError, match="other weights than this run trains"):
        TinyWorld(tmp_path, steps=8).train(resume=True)


WRONG_STATES = {
    "nested": {"scores": [[[[1]]]]},
    "deep": {"scaler": json.loads('{"a": ' * 60 + "1" + "}" * 60)},
    "huge number": {"step": 10**400},
    "infinite": {"rate_factor": float("inf")},
    "negative": {"step": -1},
    "no samples": {"micro_batch": 0},
    "other type": {"step": "many"},
    "list": {"scaler": [1]},
    "unknown": {"mood": "sunny"},
}
"""By kind: what is wrong in a state whose digest is right."""


@pytest.mark.parametrize("kind", [*WRONG_STATES, "a list", "moments", "shape", "missing"])
def test_a_checkpoint_that_makes_no_sense_is_damage(tmp_path: Path, kind: str) -> None:
    path = _train_some(tmp_path).run.checkpoint_path
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    key = next(key for key in tensors if key.startswith("moments/exp_avg/"))
    if kind == "moments":
        del tensors[key]
    elif kind == "shape":
        tensors[key] = torch.zeros(3, 5)
    elif kind == "missing":
        del state["step"]
    text = json.dumps([] if kind == "a list" else state | WRONG_STATES.get(kind, {}))
    header = {"state": text, "sha256": module._digest(text, tensors)}
    path.write_bytes(save(tensors, header))
    with pytest.raises(DamagedCheckpointError, match="the checkpoint is damaged") as caught:
        load_checkpoint(path)
    assert len(str(caught.value)) < len(str(path)) + 400
    again = TinyWorld(tmp_path, steps=8)
    again.train(resume=True)
    assert "Resuming from the previous one, step 6." in again.notes[0]


def _write_header(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


WRONG_FILES = {
    **{"empty": b"", "one line": b"x" * LINE, "no header": struct.pack("<Q", 1 << 62) + b"{}"},
    "deep header": _write_header(b'{"a":' * DEPTH + b"1" + b"}" * DEPTH),
    "deep list": _write_header(b"[" * DEPTH + b"]" * DEPTH),
    "digits": _write_header(b'{"a": ' + b"9" * DIGITS + b"}"),
    "endless": _write_header(b'{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 0]}}'),
    "large": _write_header(
        b'{"a": {"dtype": "F32", "shape": [9223372036854775807, 4], "data_offsets": [0, 4]}}'
    ),
    "list": _write_header(b"[]"),
    "null": _write_header(b"null"),
    "no UTF-8": _write_header(b'{"\xff": 1}'),
    "other metadata": _write_header(b'{"__metadata__": [1]}'),
    "no metadata": _write_header(b"{}"),
    **{
        f"state {kind}": save({}, {"state": text, "sha256": module._digest(text, {})})
        for kind, text in {
            "deep": "[" * DEPTH + "]" * DEPTH,
            "digits": '{"step": ' + "9" * DIGITS + "}",
            "null": "null",
            "empty": "",
        }.items()
    },
}
"""By kind: the content of a file that is no checkpoint."""


@pytest.mark.parametrize("kind", [*WRONG_FILES, "folder", "pipe"])
def test_a_file_that_is_no_checkpoint_is_damage(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(WRONG_FILES.get(kind, b"x"))
    with contextlib.ExitStack() as stack:
        if kind not in WRONG_FILES:
            stack.enter_context(damaged(path, kind, tmp_path))
        with pytest.raises(DamagedCheckpointError, match="the checkpoint is damaged") as caught:
            load_checkpoint(path)
    assert len(str(caught.value)) < len(str(path)) + MAX_REASON + 100
