"""With a cache or without: the same rows, the same outputs, the same gradients."""

import errno
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from facefusion_finetune.swappers.convert.frontier import Frontier, split_at_cut
from facefusion_finetune.swappers.convert.lora import add_low_rank
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.costs import measure_cost
from facefusion_finetune.training.cache.feed import (
    CachedFeed,
    DirectFeed,
    Feed,
    choose_feed,
    estimate_cache,
    measure_saving,
    run_frozen,
)
from facefusion_finetune.training.cache.header import DATA_FILE
from facefusion_finetune.training.cache.store import RecordStore
from facefusion_finetune.training.pairs.pair_set import KINDS
from tests.support.feeds import (
    FEW_COUNTS,
    MIX,
    PLENTY,
    ROWS,
    create_feed,
    create_settings,
)
from tests.support.forked import ForkServer
from tests.support.waiting import HANGS


@pytest.fixture
def direct(tmp_path: Path) -> DirectFeed:
    return create_feed(tmp_path)


def _count_record(direct: DirectFeed) -> int:
    layers = [layer for uses in direct.swapper.places.values() for _, _, layer in uses]
    return measure_cost(direct.swapper.graph.trace, layers).cut_bytes


def _chunked(direct: DirectFeed, folder: Path, notes: list[str] | None = None) -> CachedFeed:
    """Two chunks of 16 rows."""
    told = notes if notes is not None else []
    settings = create_settings(folder, 33 * _count_record(direct))
    feed = choose_feed(direct, settings, told.append)
    assert isinstance(feed, CachedFeed)
    return feed


@pytest.fixture
def cached(direct: DirectFeed, tmp_path: Path) -> Iterator[Feed]:
    feed = choose_feed(direct, create_settings(tmp_path))
    assert isinstance(feed, CachedFeed)
    yield feed
    feed.close()


def _differentiate(feed: Feed, swapper: TorchSwapper, rows: Sequence[int], step: int) -> Tensor:
    output, batch = feed.run(rows, step)
    assert len(output) == len(batch.truth) == len(rows)
    loss = (output - batch.truth).square().mean()
    made = torch.autograd.grad(loss, list(swapper.trained.values()))
    return torch.cat([gradient.flatten() for gradient in made])


def test_same_rows_and_outputs_as_without_a_cache(direct: DirectFeed, cached: Feed) -> None:
    for step in (0, 3, 39):
        rows = cached.draw(step)
        assert rows == direct.draw(step)
        output, batch = cached.run(rows, step)
        expected, whole = direct.run(rows, step)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
        assert torch.equal(batch.truth, whole.truth)
        assert torch.equal(batch.kind, whole.kind)
        made = _differentiate(cached, direct.swapper, rows, step)
        torch.testing.assert_close(
            made, _differentiate(direct, direct.swapper, rows, step), rtol=1e-3, atol=1e-7
        )


def test_bit_for_bit_where_a_batch_is_a_group(direct: DirectFeed, cached: Feed) -> None:
    rows = range(8, 16)
    output, _ = cached.run(rows, 0)
    assert torch.equal(output, direct.run(rows, 0)[0])


def test_micro_batches_read_their_own_rows(direct: DirectFeed, cached: Feed) -> None:
    rows = cached.draw(1)
    whole, _ = cached.run(rows, 1)
    parts = torch.cat([cached.run(rows[:1], 1)[0], cached.run(rows[1:], 1)[0]])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def test_frozen_once_whatever_is_trained_meanwhile(direct: DirectFeed, cached: Feed) -> None:
    add_low_rank(direct.swapper, 2, seed=0)
    with torch.no_grad():
        for parameter in direct.swapper.trained.values():
            parameter.add_(0.05)
    rows = cached.draw(0)
    output, _ = cached.run(rows, 0)
    torch.testing.assert_close(output, direct.run(rows, 0)[0], rtol=0, atol=1e-5)


def test_a_finished_cache_is_read_and_not_made_again(
    direct: DirectFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    first = choose_feed(
        direct, create_settings(tmp_path), on_progress=lambda *told: seen.append(told)
    )
    assert seen[0] == (8, ROWS)
    assert seen[-1] == (ROWS, ROWS)
    first.close()
    content = (tmp_path / "cache" / DATA_FILE).read_bytes()
    frozen: list[int] = []

    def count(self: Frontier, target: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        frozen.append(len(target))
        return freeze_before(self, target, source)

    freeze_before = Frontier.run_frozen
    monkeypatch.setattr(Frontier, "run_frozen", count)
    again = choose_feed(direct, create_settings(tmp_path))
    again.run(again.draw(0), 0)
    assert frozen == [8]  # to compare with what is there
    again.close()
    assert (tmp_path / "cache" / DATA_FILE).read_bytes() == content


PROGRAM = """
import sys
from pathlib import Path
from tests.support import feeds
getattr(feeds, sys.argv[1])(Path(sys.argv[2]))
"""


def test_killed_in_the_middle_of_filling(
    direct: DirectFeed, tmp_path: Path, fork_server: ForkServer
) -> None:
    ended = fork_server.run(PROGRAM, "fill_until_killed", tmp_path)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    data = tmp_path / "cache" / DATA_FILE
    half = data.read_bytes()
    feed = choose_feed(direct, create_settings(tmp_path))
    feed.close()
    resumed = data.read_bytes()
    assert half != resumed
    (tmp_path / "other").mkdir()
    feed = choose_feed(direct, create_settings(tmp_path / "other"))
    feed.close()
    assert (tmp_path / "other" / "cache" / DATA_FILE).read_bytes() == resumed


def test_a_file_that_cannot_grow(tmp_path: Path, fork_server: ForkServer) -> None:
    made = fork_server.run(PROGRAM, "fill_within_limit", tmp_path)
    assert made.stdout.startswith("DirectFeed 4 "), made.stderr
    assert "is full" in made.stdout
    assert not (tmp_path / "cache").exists()


def test_a_disk_that_fills_up_while_the_cache_is_made(
    direct: DirectFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill_disk(monkeypatch, after=2)
    notes: list[str] = []
    assert choose_feed(direct, create_settings(tmp_path), notes.append) is direct
    assert "without a cache" in notes[0]
    assert not (tmp_path / "cache").exists()


def _fill_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    write = RecordStore.write
    done: list[int] = []

    def fail(self: RecordStore, start: int, tensors: Sequence[Tensor]) -> None:
        done.append(start)
        if len(done) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, start, tensors)

    monkeypatch.setattr(RecordStore, "write", fail)


def test_other_write_errors_are_not_hidden(
    direct: DirectFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: RecordStore, start: int, tensors: Sequence[Tensor]) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(RecordStore, "write", fail)
    with pytest.raises(OSError, match="Input/output"):
        choose_feed(direct, create_settings(tmp_path))


def test_no_cache_where_it_saves_too_little(tmp_path: Path) -> None:
    for direct in (create_feed(tmp_path, "all"), create_feed(tmp_path, steps=5)):
        assert choose_feed(direct, create_settings(tmp_path)) is direct
        assert estimate_cache(direct, PLENTY) == 0
    few = create_feed(tmp_path, steps=5)
    layers = [layer for uses in few.swapper.places.values() for _, _, layer in uses]
    cost = measure_cost(few.swapper.graph.trace, layers)
    assert measure_saving(cost, few.sampler, whole=True) < 0
    many = replace(few.sampler, steps=10**6)
    share = 1 - cost.live_macs / cost.macs
    assert measure_saving(cost, many, whole=True) == pytest.approx(share, rel=1e-3)
    assert 0 < measure_saving(cost, many, whole=False) < share
    direct = create_feed(tmp_path)
    assert choose_feed(direct, create_settings(tmp_path, 0)) is direct
    assert estimate_cache(direct, 0) == 0
    assert estimate_cache(direct, PLENTY) == _count_record(direct) * ROWS
    assert estimate_cache(direct, 1 << 20) == 1 << 20
    assert not (tmp_path / "cache").exists()


def test_chunks_reach_all_rows_and_keep_the_shares(tmp_path: Path) -> None:
    direct = create_feed(tmp_path, steps=400)
    feed = _chunked(direct, tmp_path)
    drawn = Counter(row for step in range(400) for row in feed.draw(step))
    assert set(drawn) == set(range(ROWS))
    kinds = Counter()
    for row, count in drawn.items():
        kinds[KINDS[direct.sampler.pairs.kind[row]]] += count
    total = sum(MIX.model_dump().values())
    for kind, share in MIX.model_dump().items():
        assert kinds[kind] / 1600 == pytest.approx(share / total, abs=0.02)
    feed.close()


def test_chunks_give_what_the_whole_swapper_gives(tmp_path: Path) -> None:
    direct = create_feed(tmp_path, steps=200)
    feed = _chunked(direct, tmp_path)
    for step in range(0, 60, 4):
        rows = feed.draw(step)
        output, batch = feed.run(rows, step)
        assert len(batch.target) == 0  # read from the cache, not made anew
        torch.testing.assert_close(output, direct.run(rows, step)[0], rtol=0, atol=1e-5)
    feed.close()


@pytest.mark.parametrize("jumps", [[17], [50, 51, 16, 0, 33, 199]])
def test_chunks_are_the_same_from_any_step_on(jumps: list[int], tmp_path: Path) -> None:
    direct = create_feed(tmp_path, steps=200)
    straight = _chunked(direct, tmp_path / "straight")
    steps = sorted({0, 15, 16, *jumps})
    rows = {step: straight.draw(step) for step in steps}
    outputs = {step: straight.run(rows[step], step)[0] for step in steps}
    straight.close()
    resumed = _chunked(direct, tmp_path / "straight")
    for step in jumps:
        assert resumed.draw(step) == rows[step]
        assert torch.equal(resumed.run(rows[step], step)[0], outputs[step])
    resumed.close()


def test_rows_outside_the_chunk_run_the_whole_swapper(tmp_path: Path) -> None:
    direct = create_feed(tmp_path, steps=200)
    feed = _chunked(direct, tmp_path)
    output, batch = feed.run(range(ROWS), 0)
    assert len(batch.target) == ROWS
    assert torch.equal(output, direct.run(range(ROWS), 0)[0])
    feed.close()


def test_an_error_of_the_thread_reaches_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = _chunked(create_feed(tmp_path, steps=200), tmp_path)

    def fail(self: Frontier, target: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(Frontier, "run_frozen", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        feed.run(feed.draw(0), 0)
    feed.close()


def test_a_disk_that_fills_up_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = create_feed(tmp_path, steps=200)
    notes: list[str] = []
    feed = _chunked(direct, tmp_path, notes)
    _fill_disk(monkeypatch, after=2)
    for step in range(0, 60, 6):
        rows = feed.draw(step)
        output, _ = feed.run(rows, step)
        torch.testing.assert_close(output, direct.run(rows, step)[0], rtol=0, atol=1e-5)
    assert len(notes) == 1
    assert "without a cache" in notes[0]
    assert not (tmp_path / "cache").exists()
    feed.close()


def test_closing_ends_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = _chunked(create_feed(tmp_path, steps=200), tmp_path)
    began, go_on = threading.Event(), threading.Event()
    freeze_before = Frontier.run_frozen

    def wait(self: Frontier, target: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        if threading.current_thread().name == "cache chunk 1":
            began.set()
            assert go_on.wait(HANGS)
        return freeze_before(self, target, source)

    monkeypatch.setattr(Frontier, "run_frozen", wait)
    feed.run(feed.draw(0), 0)
    assert began.wait(HANGS)
    go_on.set()
    feed.close()
    assert not any(thread.name.startswith("cache") for thread in threading.enumerate())


def test_half_precision_is_kept_as_it_is(tmp_path: Path) -> None:
    def cast() -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16)

    direct = replace(create_feed(tmp_path, "last_1", counts=FEW_COUNTS), autocast=cast)
    feed = choose_feed(direct, create_settings(tmp_path))
    assert isinstance(feed, CachedFeed)
    layers = [layer for uses in direct.swapper.places.values() for _, _, layer in uses]
    cut = measure_cost(direct.swapper.graph.trace, layers).cut
    rows = range(4)
    tensors = run_frozen(split_at_cut(direct.swapper, cut), direct, rows)
    assert torch.bfloat16 in {tensor.dtype for tensor in tensors}
    assert torch.equal(feed.run(rows, 0)[0], direct.run(rows, 0)[0])
    assert _differentiate(feed, direct.swapper, rows, 0).isfinite().all()
    feed.close()
