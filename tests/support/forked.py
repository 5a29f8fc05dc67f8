"""Programs in processes of their own that need not load PyTorch and its like again.

Loading takes seconds, and many programs of the tests are killed, starved or limited a moment later.
A server loads once what they need, does nothing with it, and becomes one of them for each that is
asked for. Whatever depends on how a process starts has to be started by `subprocess`.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Self

import torch

from tests.support.waiting import HANGS

LOADED = (
    "facefusion_finetune.demo.analyser",
    "facefusion_finetune.evaluation.rerun",
    "facefusion_finetune.registry.transfer",
    "facefusion_finetune.training.recipe",
)


class ForkServer:
    """Runs one program after the other; ends with the block that it is the context of.

    Args:
        folder: Where what the programs say is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        if self._server is not None:
            self._server.communicate()

    def run(self, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a program as `python -c` would, in this process's folder and environment.

        Args:
            code: The program.
            arguments: What `sys.argv` holds after its first entry.

        Returns:
            How it ended; negative is the number of the signal that ended it.
        """
        server = self._server = self._server or self._start()
        assert server.stdin is not None
        assert server.stdout is not None
        words = [str(word) for word in arguments]
        outputs = [self._folder / name for name in ("stdout", "stderr")]
        request = {
            **{"code": code, "arguments": words, "outputs": [str(path) for path in outputs]},
            **{"environment": dict(os.environ), "folder": os.getcwd()},
        }
        print(json.dumps(request), file=server.stdin, flush=True)
        ended = int(server.stdout.readline())
        return subprocess.CompletedProcess(words, ended, *(path.read_text() for path in outputs))

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def serve() -> None:
    """Fork for each program that is asked for on stdin, and say on stdout how it ended."""
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = become(json.loads(line))
            # Taking the interpreter apart would touch, and so copy, all that the server has loaded.
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(request: dict[str, Any]) -> int:
    """Be the program from here on; how it ends."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    for stream, path in enumerate(request["outputs"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.alarm(round(HANGS))
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    sys.argv[1:] = request["arguments"]
    try:
        exec(compile(request["code"], "<program>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve()
