"""Decodes picture files in a process of its own, which may be killed: `faces.images` starts it.

Pictures come out as the package works with them: upright, in sRGB, eight bits, opaque. A decoder is
native code that a file can make run for ever, take all memory or crash; here, that costs a file
with a sentence about it, and nothing else.

The process answers requests, one JSON object on a line of its standard input each, until that ends,
which also ends the decoding: it does not outlive the process that started it.
"""

import contextlib
import faulthandler
import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

from facefusion_finetune.faces.pictures.limits import MAX_MEMORY, MAX_PIXELS, MAX_SECONDS, MAX_WAIT

# OpenCV reads this when it is imported.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)

import cv2
import numpy
import pi_heif
from PIL import AvifImagePlugin, Image

from facefusion_finetune.faces.pictures.colours import list_bands
from facefusion_finetune.faces.pictures.decoding import (
    Decoded,
    DecodeError,
    PictureFile,
    create_memory_error,
)
from facefusion_finetune.faces.protocol import VisionFrame


def main() -> None:
    """Answer requests until the standard input ends.

    A request is a JSON object with `path` (its bytes as hexadecimal digits), `number`, `more` if
    later pictures of the file will be asked for, and `side`: if not 0, the picture is scaled to
    that width and height. An answer is a line of JSON: with `shape`, `size` (width and height) and
    `duration` before the pixels, with `end` if there is no such picture, or with `why` and `todo`.
    """
    _limit_process()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What native code prints must not get between the answers.
    os.dup2(2, 1)
    opened: PictureFile | None = None
    with open(os.devnull, "w", encoding="ascii") as nowhere:
        for line in requests:
            faulthandler.dump_traceback_later(MAX_WAIT, exit=True, file=nowhere)
            _grant_time()
            _set_end_with_input(True)
            request = json.loads(line)
            path = Path(os.fsdecode(bytes.fromhex(request["path"])))
            pixels: VisionFrame | None = None
            decoded: Decoded | None = None
            try:
                if opened is None or opened.path != path or not request["number"]:
                    if opened is not None:
                        opened.close()
                    opened = None
                    opened = PictureFile(path)
                decoded = opened.decode(request["number"])
            except DecodeError as error:
                answer: dict[str, Any] = {"why": error.why, "todo": error.todo}
            except OSError as error:
                why = f"it cannot be read ({error.strerror or error})."
                answer = {"why": why, "todo": "Grant access, or leave it out."}
            except MemoryError:
                refusal = create_memory_error()
                answer = {"why": refusal.why, "todo": refusal.todo}
            else:
                answer = {"end": True}
                if decoded is not None:
                    pixels, side = decoded.pixels, request["side"]
                    size = pixels.shape[1::-1]
                    if side:
                        whole = numpy.ascontiguousarray(pixels)
                        pixels = cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA)
                    shape = pixels.shape
                    answer = {"shape": shape, "size": size, "duration": decoded.duration}
            if opened is not None and not request["more"]:
                opened.close()
                opened = None
            decoded = None
            _set_end_with_input(False)
            # The other process may take its time to read.
            faulthandler.cancel_dump_traceback_later()
            answers.write(json.dumps(answer).encode("ascii") + b"\n")
            if pixels is not None:
                for rows in list_bands(*pixels.shape[:2]):
                    answers.write(numpy.ascontiguousarray(pixels[rows]).data)
            answers.flush()
            del pixels


def _limit_process() -> None:
    """Bound memory, and let Ctrl-C end the process that asks, not this one before its answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Frames and tiles that Pillow finds later are held against the limit, too; twice this raises.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
    # Each thread of a decoder counts with its stack.
    AvifImagePlugin.DEFAULT_MAX_THREADS = pi_heif.options.DECODE_THREADS = 2
    cv2.setNumThreads(1)
    if sys.platform != "win32":
        import fcntl
        import resource

        signal.signal(signal.SIGIO, signal.SIG_IGN)
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))


def _set_end_with_input(is_ending: bool) -> None:
    """Whether the process ends when something happens at its input, even within native code.

    While a picture is decoded, nothing is written there; so it is the other process that has ended.
    """
    if sys.platform != "win32":
        signal.signal(signal.SIGIO, signal.SIG_DFL if is_ending else signal.SIG_IGN)


def _grant_time() -> None:
    """Processor time for one more picture; the system ends a process that exceeds it."""
    if sys.platform != "win32":
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        most = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = math.ceil(usage.ru_utime + usage.ru_stime) + MAX_SECONDS
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CPU, (soft, most))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
