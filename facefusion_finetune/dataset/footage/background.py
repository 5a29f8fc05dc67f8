"""Work done in parallel to the networks: decoding, planning and content checks ahead of time."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from facefusion_finetune.errors import UnreadableError

Item = TypeVar("Item")

READ_AHEAD = 2
"""Frames decoded ahead: a 4K frame takes 25 MB."""


@contextlib.contextmanager
def read_ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """Produce the items in a thread that is up to `READ_AHEAD` items ahead.

    Errors of the thread are raised where the items are consumed. Leaving the block ends the thread.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(READ_AHEAD)
    stopped = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((item, error), timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def take() -> Iterator[Item]:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stopped.set()
        thread.join()


class BackgroundTasks:
    """One task per key, run in order by one thread, ahead of when the results are needed."""

    def __init__(self, tasks: Mapping[str, Callable[[], object]]) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._futures: dict[str, Future[object]] = {
            key: self._executor.submit(task) for key, task in tasks.items()
        }

    def raise_refusal(self) -> None:
        """Raise the error of any task that has failed so far.

        Raises:
            FootageError: One of the finished tasks has refused its footage.
        """
        for future in self._futures.values():
            if future.done() and not future.cancelled():
                error = future.exception()
                if error is not None and not isinstance(error, UnreadableError):
                    raise error

    def wait(self, key: str) -> None:
        """Wait for a task.

        Raises:
            FootageError: It, or an earlier task, has refused its footage.
            UnreadableError: It could not read its footage.
        """
        self._futures[key].result()
        self.raise_refusal()

    def is_done(self, key: str) -> bool:
        """Whether the task has finished."""
        return self._futures[key].done()

    def close(self) -> None:
        """Cancel tasks that have not started, and wait for the running one."""
        self._executor.shutdown(wait=True, cancel_futures=True)
