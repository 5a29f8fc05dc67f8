"""FaceFusion's UI as a process of its own, with a home, temporary folder and log of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psutil

from facefusion_finetune.home import HOME_VARIABLE
from tests.support.host import BENCH_OPTIONS
from tests.support.waiting import HANGS

OPTIONS = (*BENCH_OPTIONS, "--face-swapper-model", "inswapper_128")
"""What the bench's models need; its only swapper is not the host's default one."""
USUAL_LINES = ("* Running on local URL", "* To create a public link")
"""What Gradio says at every start."""
NO_NETWORK = """#!/bin/sh
echo "content-length: 0"
"""
"""Stands for `curl`: the host thinks each of its downloads is there, empty, and fetches none."""


class FaceFusionUi:
    """A FaceFusion with its UI: start it, stop it, start it again with the same home.

    Args:
        host: A furnished FaceFusion folder, linked or not.
        folder: Where its home, temporary files, jobs and log go; made if missing.
        arguments: Further arguments of `run`, for example `--ui-layouts finetune default`.
        home: The folder of all persons, if it is not to lie in `folder`.
        variables: Added to the environment.
    """

    def __init__(
        self,
        host: Path,
        folder: Path,
        *arguments: object,
        home: Path | None = None,
        **variables: str,
    ) -> None:
        self.host = host
        self.folder = folder
        self.home = home or folder / "home"
        self.log_path = folder / "log.txt"
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._arguments = [*OPTIONS, *map(str, arguments)]
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def start(self, seconds: float = HANGS) -> None:
        """Start it and wait until it serves; see `launch` and `wait`."""
        self.launch()
        self.wait(seconds)

    def launch(self) -> None:
        """Start it and return at once, so that several can start side by side."""
        temporary, jobs = self.folder / "temporary", self.folder / "jobs"
        commands = self.folder / "commands"
        for folder in (self.home, temporary, jobs, commands):
            folder.mkdir(parents=True, exist_ok=True)
        (commands / "curl").write_text(NO_NETWORK)
        (commands / "curl").chmod(0o755)
        environment = {
            **os.environ,
            HOME_VARIABLE: str(self.home),
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(temporary),
            "GRADIO_SERVER_PORT": str(self.port),
            **self._variables,
        }
        paths = ["--temp-path", str(temporary), "--jobs-path", str(jobs)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "facefusion.py", "run", *paths, *self._arguments],
                cwd=self.host,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, seconds: float = HANGS) -> None:
        """Wait until the page is served.

        Raises:
            AssertionError: It ended, or takes longer; with the end of its log.
        """
        assert self._process is not None
        end = time.monotonic() + seconds
        while not is_served(self.url):
            code = self._process.poll()
            assert code is None, f"FaceFusion ended with {code}:\n{self.read_log_end()}"
            assert time.monotonic() < end, (
                f"FaceFusion serves nothing after {seconds} s:\n{self.read_log_end()}"
            )
            time.sleep(0.05)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Hold FaceFusion still, so that it meets all that the page sends meanwhile at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End FaceFusion and the processes of its group; training lives on, in its own group."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(5)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process = None

    def close(self) -> None:
        """End FaceFusion and everything that works in its home."""
        self.stop()
        for process in self.find_background():
            process.kill()
        psutil.wait_procs(self.find_background(), 5)

    def find_background(self) -> list[psutil.Process]:
        """Processes that have the same home and are not FaceFusion: the queue and its workers."""
        group = self._process.pid if self._process else None
        return [
            process
            for process in psutil.process_iter()
            if _read_home(process) == str(self.home) and _read_group(process) != group
        ]

    def read_log(self) -> str:
        """All it has said, over all its starts."""
        return self.log_path.read_text("utf-8", "replace") if self.log_path.is_file() else ""

    def read_log_end(self, lines: int = 40) -> str:
        """The last lines it said."""
        return "\n".join(self.read_log().splitlines()[-lines:])

    def read_complaints(self) -> list[str]:
        """The lines of its log that are not said at every start."""
        return [
            line
            for line in self.read_log().splitlines()
            if line.strip() and not line.startswith(USUAL_LINES)
        ]


CreateUi = Callable[..., FaceFusionUi]
"""Makes a FaceFusion, not yet started, that is ended after the tests that share it."""


def find_free_port() -> int:
    """A port of this machine nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_served(url: str) -> bool:
    """Whether the page answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _read_home(process: psutil.Process) -> str | None:
    try:
        home: str | None = process.environ().get(HOME_VARIABLE)
    except (psutil.Error, OSError):
        return None
    return home


def _read_group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except OSError:
        return None
