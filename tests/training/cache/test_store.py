"""A cache is used only if it is whole and of the same run; a full disk ends none."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.training.cache.header import (
    DATA_FILE,
    HEADER_FILE,
    LARGEST_RESERVE,
    Origin,
    remove_cache,
)
from facefusion_finetune.training.cache.store import CacheSpec, RecordStore, open_cache

NAMES = ("map", "style", "flag")
ROWS = 10
RECORD = 4 * 3 * 5 * 5 + 2 * 7 + 1
ORIGIN = Origin(run="ada@1", base="ab" * 32, digest="cd" * 32)
Usage = namedtuple("Usage", ("total", "used", "free"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some" / "cache"


def _draw(rows: int = ROWS, seed: int = 0) -> list[Tensor]:
    """Tensors of three types, one of which numpy does not know."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(rows, 3, 5, 5, generator=generator),
        torch.randn(rows, 7, generator=generator).bfloat16(),
        torch.randint(0, 2, (rows,), generator=generator).bool(),
    ]


def _spec(
    folder: Path, origin: Origin = ORIGIN, limit: int = 1 << 20, min_chunk: int = 2
) -> CacheSpec:
    return CacheSpec(folder, origin, limit, ROWS, min_chunk)


def _open(spec: CacheSpec, notes: list[str] | None = None, seed: int = 0) -> RecordStore | None:
    sample = [values[:4] for values in _draw(seed=seed)]
    told = notes if notes is not None else []
    return open_cache(spec, list(zip(NAMES, sample, strict=True)), told.append)


def _fill(store: RecordStore) -> None:
    tensors = _draw()
    for start in (4, 0, 8):
        store.write(start, [values[start : start + 4] for values in tensors])
    store.finish()


def _make(spec: CacheSpec) -> None:
    store = _open(spec)
    assert store is not None
    _fill(store)
    store.close()


def test_records_come_back_bit_for_bit_in_any_order(folder: Path) -> None:
    store = _open(_spec(folder))
    assert store is not None
    _fill(store)
    places = [7, 0, 9, 0]
    for kept, made in zip(store.read(places, "cpu"), _draw(), strict=True):
        assert kept.dtype == made.dtype
        assert torch.equal(kept, made[places])
    assert (folder / DATA_FILE).stat().st_size == ROWS * RECORD
    assert not (folder / DATA_FILE).stat().st_mode & 0o077


def test_a_finished_cache_is_used_again(folder: Path) -> None:
    _make(_spec(folder))
    before = (folder / DATA_FILE).stat()
    store = _open(_spec(folder))
    assert store is not None
    assert store.is_complete
    after = (folder / DATA_FILE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    for kept, made in zip(store.read(range(ROWS), "cpu"), _draw(), strict=True):
        assert torch.equal(kept, made)


def _flip_byte(folder: Path) -> None:
    with (folder / DATA_FILE).open("r+b") as file:
        file.seek(RECORD * 7)
        byte = file.read(1)[0]
        file.seek(RECORD * 7)
        file.write(bytes([byte ^ 1]))


def _shorten(folder: Path) -> None:
    os.truncate(folder / DATA_FILE, RECORD * ROWS - 1)


def _forget_end(folder: Path) -> None:
    values = json.loads((folder / HEADER_FILE).read_text())
    values["checksum"] = None
    (folder / HEADER_FILE).write_text(json.dumps(values))


def _claim_more(folder: Path) -> None:
    values = json.loads((folder / HEADER_FILE).read_text())
    values["rows"] = ROWS * 1000
    (folder / HEADER_FILE).write_text(json.dumps(values))


@pytest.mark.parametrize(
    "damage",
    [
        _flip_byte,
        _shorten,
        _forget_end,
        _claim_more,
        lambda folder: (folder / DATA_FILE).unlink(),
        lambda folder: (folder / HEADER_FILE).unlink(),
        lambda folder: (folder / HEADER_FILE).write_bytes(b"\xff{"),
        lambda folder: (folder / HEADER_FILE).write_text('{"version": 2}'),
        lambda folder: (folder / HEADER_FILE).write_text("[" * 100_000),
    ],
)
def test_a_damaged_cache_is_made_anew(damage: object, folder: Path) -> None:
    _make(_spec(folder))
    assert callable(damage)
    damage(folder)
    store = _open(_spec(folder))
    assert store is not None
    assert not store.is_complete
    _fill(store)
    assert torch.equal(store.read([7], "cpu")[0], _draw()[0][7:8])


def test_other_pairs_or_other_values_are_made_anew(folder: Path) -> None:
    _make(_spec(folder))
    other = ORIGIN.model_copy(update={"digest": "ef" * 32})
    store = _open(_spec(folder, other))
    assert store is not None
    assert not store.is_complete
    store.close()
    _make(_spec(folder))
    store = _open(_spec(folder), seed=1)
    assert store is not None
    assert not store.is_complete


@pytest.mark.parametrize("change", [{"run": "eve@3"}, {"base": "01" * 32}])
def test_another_runs_cache_is_refused_and_kept(change: dict[str, str], folder: Path) -> None:
    _make(_spec(folder, ORIGIN.model_copy(update=change)))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(TrainingError, match="it contains the cache of run") as caught:
        _open(_spec(folder))
    assert str(folder) in caught.value.given
    assert change.get("run", "ada@1") in caught.value.why
    assert change.get("base", "ab" * 32)[:16] in caught.value.why
    assert "Use another folder" in caught.value.todo
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("kind", ["file", "folder", "link", "hidden"])
def test_a_folder_of_something_else_is_refused_and_kept(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    _make(_spec(folder))
    precious = tmp_path / "precious"
    precious.write_text("mine")
    if kind == "file":
        (folder / "holiday.jpg").write_text("mine")
    elif kind == "folder":
        (folder / "sub").mkdir()
    elif kind == "hidden":
        (folder / ".hidden").write_text("mine")
    else:
        (folder / DATA_FILE).unlink()
        (folder / DATA_FILE).symlink_to(precious)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(TrainingError, match="contains files that are not a cache"):
        _open(_spec(folder))
    assert sorted(path.name for path in folder.iterdir()) == before
    assert precious.read_text() == "mine"


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(TrainingError, match="is not a folder"):
        _open(_spec(path))
    with pytest.raises(TrainingError, match="cannot be used"):
        _open(_spec(path / "below"))
    assert path.read_text() == "mine"


def test_a_limit_leaves_room_for_two_chunks(folder: Path) -> None:
    notes: list[str] = []
    spec = _spec(folder, limit=7 * RECORD)
    store = _open(spec, notes)
    assert store is not None
    assert store.header.chunked
    assert store.header.rows == 6
    assert not notes
    store.close()
    # The same chunks on resuming, whatever room there is now.
    again = _open(spec)
    assert again is not None
    assert again.header == store.header
    again.close()
    larger = _open(_spec(folder, limit=9 * RECORD))
    assert larger is not None
    assert larger.header.rows == 8


def _shrink(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    total = 1 << 40
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(total, total - free, free))


def test_a_short_disk_shrinks_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    _shrink(monkeypatch, LARGEST_RESERVE + 5 * RECORD)
    store = _open(_spec(folder), notes)
    assert store is not None
    assert store.header.chunked
    assert store.header.rows == 4
    assert "Little space on the disk" in notes[0]
    assert str(folder) in notes[0]


@pytest.mark.parametrize("free", [0, LARGEST_RESERVE - 1, LARGEST_RESERVE + 3 * RECORD])
def test_a_full_disk_means_no_cache(
    free: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    _shrink(monkeypatch, free)
    assert _open(_spec(folder), notes) is None
    assert "without a cache" in notes[0]
    assert not folder.exists()


def test_a_limit_too_small_for_any_chunk_means_no_cache(folder: Path) -> None:
    notes: list[str] = []
    assert _open(_spec(folder, limit=3 * RECORD), notes) is None
    assert "without a cache" in notes[0]
    assert "the disk" not in notes[0]


def test_room_that_cannot_be_had_after_all_means_no_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail, raising=False)
    notes: list[str] = []
    assert _open(_spec(folder), notes) is None
    assert "is full" in notes[0]
    assert not folder.exists()


def test_removal_takes_the_cache_and_nothing_else(folder: Path) -> None:
    _make(_spec(folder))
    (folder / "holiday.jpg").write_text("mine")
    remove_cache(folder)
    assert [path.name for path in folder.iterdir()] == ["holiday.jpg"]
    (folder / "holiday.jpg").unlink()
    _make(_spec(folder))
    remove_cache(folder)
    assert not folder.exists()
    remove_cache(folder)


MEMORY = """
import sys
from pathlib import Path
import torch
from facefusion_finetune.training.cache.store import CacheSpec, Origin, open_cache

def read_own():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

rows = 96
part = torch.ones(8, 1 << 18)
origin = Origin(run="ada@1", base="", digest="")
store = open_cache(CacheSpec(Path(sys.argv[1]), origin, 1 << 40, rows, 1), [("x", part)], print)
before = read_own()
for start in range(0, rows, 8):
    store.write(start, [part])
store.finish()
for row in range(rows):
    assert store.read([row], "cpu")[0].sum() == 1 << 18
print(read_own() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_the_cache(folder: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(folder)]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    size = (folder / DATA_FILE).stat().st_size
    assert size == 96 << 20
    assert int(made.stdout.split()[-1]) < size / 2


def test_two_threads_see_each_others_records(folder: Path) -> None:
    store = _open(_spec(folder))
    assert store is not None
    for value in range(3):
        tensors = [torch.full_like(values[:2], value) for values in _draw()]
        store.write(5, tensors)
        for kept, made in zip(store.read([5, 6], "cpu"), tensors, strict=True):
            assert torch.equal(kept, made)
    assert not numpy.any(store.read([0], "cpu")[0].numpy())
