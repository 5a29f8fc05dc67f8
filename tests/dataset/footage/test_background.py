"""What goes on beside the networks."""

import threading
from collections.abc import Iterator

import pytest

from facefusion_finetune.dataset.footage.background import READ_AHEAD, BackgroundTasks, read_ahead
from facefusion_finetune.errors import FootageError, UnreadableError
from tests.support.waiting import HANGS, wait_until


def _count(made: list[int], total: int, error: Exception | None = None) -> Iterator[int]:
    for number in range(total):
        made.append(number)
        yield number
    if error is not None:
        raise error


def test_items_come_in_their_order_and_only_some_ahead() -> None:
    made: list[int] = []
    ahead = READ_AHEAD + 1
    """Those that wait, and the one that does not fit in."""
    with read_ahead(_count(made, 50)) as items:
        for number in range(50):
            assert next(items) == number
            most = min(number + 1 + ahead, 50)
            wait_until(lambda most=most: len(made) >= most, "it is that far ahead")
            assert len(made) == most
        assert list(items) == []
    assert made == list(range(50))


def test_an_error_comes_after_what_was_made_before_it() -> None:
    error = UnreadableError("a", "broken.", "mend it")
    taken = []
    with read_ahead(_count([], 3, error)) as items:
        taken += [next(items) for _ in range(3)]
        with pytest.raises(UnreadableError, match="broken"):
            next(items)
    assert taken == [0, 1, 2]


def test_leaving_early_closes_the_source_and_ends_the_thread() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    threads = set(threading.enumerate())
    with read_ahead(endless()) as items:
        assert next(items) == 1
    assert closed.is_set()
    assert set(threading.enumerate()) <= threads


def _refuse(error: Exception) -> None:
    raise error


def test_refusals_are_raised_at_once_and_unreadable_files_when_it_is_their_turn() -> None:
    tasks = BackgroundTasks(
        {
            "good": lambda: None,
            "unreadable": lambda: _refuse(UnreadableError("u", "no picture.", "leave it out")),
            "refused": lambda: _refuse(FootageError("r", "refused.", "leave it out")),
        }
    )
    try:
        with pytest.raises(UnreadableError, match="no picture"):
            tasks.wait("unreadable")
        with pytest.raises(FootageError, match="refused"):
            tasks.wait("refused")
        assert tasks.is_done("refused")
        with pytest.raises(FootageError, match="refused"):
            tasks.raise_refusal()
        # One that went well is of no use any more either.
        with pytest.raises(FootageError, match="refused"):
            tasks.wait("good")
    finally:
        tasks.close()


def test_closing_drops_what_has_not_begun() -> None:
    began, go = threading.Event(), threading.Event()
    done: list[str] = []

    def first() -> None:
        began.set()
        assert go.wait(HANGS)
        done.append("first")

    tasks = BackgroundTasks({"first": first, "second": lambda: done.append("second")})
    assert began.wait(HANGS)
    closing = threading.Thread(target=tasks.close)
    closing.start()
    wait_until(lambda: tasks.is_done("second"), "it is dropped")
    assert closing.is_alive(), "what has begun is waited for"
    go.set()
    closing.join(HANGS)
    assert not closing.is_alive()
    assert done == ["first"]
