"""Reads picture files as frames: upright, in sRGB, eight bits, opaque. Encodes pictures as PNG.

Whatever comes from outside is decoded by `pictures.process` in a process of its own, with limits
on time and memory; what this package has written, here.
"""

import atexit
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import UnreadableError
from facefusion_finetune.faces.frames import pad_narrow
from facefusion_finetune.faces.pictures.limits import MAX_PIXELS, MAX_SECONDS, MAX_WAIT
from facefusion_finetune.faces.protocol import VisionFrame

_COMMAND = (sys.executable, "-P", "-m", "facefusion_finetune.faces.pictures.process")
_PACKAGES = str(Path(__file__).resolve().parents[2])
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@dataclass(frozen=True)
class Picture:
    """One picture of an animation."""

    pixels: VisionFrame
    size: tuple[int, int]
    """Width and height before it was scaled."""
    duration: float
    """Seconds for which it is shown."""


def read_image(path: Path) -> VisionFrame:
    """Decode an image as BGR, rotated upright according to its EXIF orientation.

    Colours are converted to sRGB, more than eight bits become eight, and transparent parts grey; of
    several pictures, the first is read.

    Raises:
        UnreadableError: The file cannot be read or decoded, is damaged, or takes too much time or
            memory to decode.
    """
    _check_readable(path)
    with _borrow_decoder() as decoder:
        picture = decoder.ask(path, 0)
    if picture is None:
        raise _refuse(path, "it contains no picture.", "Leave it out.")
    return picture.pixels


def read_animation(
    path: Path, numbers: Iterable[int], side: int = 0
) -> Generator[tuple[int, Picture], None, None]:
    """Some pictures of an animated file, each with its index.

    Args:
        path: The file.
        numbers: Indices of the pictures, from 0, ascending. Those behind the last end the reading.
        side: If not 0, the width and height to which the pictures are scaled.

    Raises:
        UnreadableError: As for `read_image`, for the first picture that cannot be decoded.
    """
    _check_readable(path)
    with _borrow_decoder() as decoder:
        for number in numbers:
            picture = decoder.ask(path, number, side, more=True)
            if picture is None:
                return
            yield number, picture


def read_png(path: Path) -> VisionFrame | None:
    """A PNG that this package has written, as BGR; None if it is missing, damaged or replaced."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not content.startswith(_PNG_START) or len(content) < len(_PNG_START) + 8:
        return None
    width, height = struct.unpack_from(">II", content, len(_PNG_START))
    if not 0 < width * height <= MAX_PIXELS:
        return None
    pixels = cv2.imdecode(numpy.frombuffer(content, numpy.uint8), cv2.IMREAD_COLOR)
    return None if pixels is None else numpy.asarray(pixels, dtype=numpy.uint8)


def encode_png(picture: NDArray[numpy.uint8], level: int | None = None) -> bytes:
    """Encode a picture as PNG.

    Args:
        picture: (H, W, 3) BGR, or (H, W) grey.
        level: Compression level, 0 to 9; None for OpenCV's default.

    Raises:
        OSError: OpenCV cannot encode the picture.
    """
    options = [] if level is None else [cv2.IMWRITE_PNG_COMPRESSION, level]
    success, buffer = cv2.imencode(".png", picture, options)
    if not success:
        raise OSError(f"a picture of shape {picture.shape} cannot be encoded")
    return bytes(buffer.tobytes())


class _Decoder:
    """A process that decodes one picture after the other."""

    def __init__(self) -> None:
        environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        paths = [_PACKAGES, *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._is_answering = False

    @property
    def is_ready(self) -> bool:
        """Whether the process waits for a request."""
        return not self._is_answering and self._process.poll() is None

    def ask(self, path: Path, number: int, side: int = 0, more: bool = False) -> Picture | None:
        """A picture of a file; see `decoding.main`.

        Raises:
            UnreadableError: It is refused, or the process has ended over it.
        """
        request = {
            "path": os.fsencode(path.absolute()).hex(),
            "number": number,
            "side": side,
            "more": more,
        }
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        # Before the timer, so that whatever it ends has taken that long.
        start = time.monotonic()
        timer = threading.Timer(MAX_WAIT, self._process.kill)
        timer.daemon = True
        timer.start()
        self._is_answering = True
        try:
            requests.write(json.dumps(request).encode("ascii") + b"\n")
            requests.flush()
            answer = json.loads(answers.readline())
            if "shape" not in answer:
                self._is_answering = False
                if "why" in answer:
                    raise _refuse(path, str(answer["why"]), str(answer["todo"]))
                return None
            pixels = numpy.empty(answer["shape"], numpy.uint8)
            rest = pixels.data.cast("B")
            while rest and (count := answers.readinto(rest)):  # type: ignore[attr-defined]
                rest = rest[count:]
            if rest:
                raise EOFError
            self._is_answering = False
            pixels = pad_narrow(pixels)
            return Picture(pixels, tuple(answer["size"]), float(answer["duration"]) / 1000)
        except (OSError, EOFError, ValueError) as error:
            raise self._explain(path, time.monotonic() - start) from error
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with self._process:
            pass

    def _explain(self, path: Path, seconds: float) -> UnreadableError:
        """Why the process has ended."""
        self._process.kill()
        code = self._process.wait()
        if seconds >= MAX_WAIT or code == -getattr(signal, "SIGXCPU", 0):
            return _refuse(
                path,
                f"decoding it takes more than {MAX_SECONDS} seconds.",
                "Save it in another format, or leave it out.",
            )
        return _refuse(
            path,
            f"decoding it takes too much memory, or crashes the decoder (exit code {code}).",
            "Scale it down, save it in another format, or leave it out.",
        )


_idle: list[_Decoder] = []
"""Taking from a list and adding to it needs no lock between threads."""


@contextmanager
def _borrow_decoder() -> Iterator[_Decoder]:
    """A decoder for one thread; started if none is idle, and ended if it did not answer."""
    decoder = None
    with suppress(IndexError):
        decoder = _idle.pop()
    if decoder is not None and not decoder.is_ready:
        decoder.close()
        decoder = None
    decoder = decoder or _Decoder()
    try:
        yield decoder
    finally:
        if decoder.is_ready:
            _idle.append(decoder)
        else:
            decoder.close()


@atexit.register
def _end_decoders() -> None:
    while _idle:
        _idle.pop().close()


if hasattr(os, "register_at_fork"):
    # Two processes that write to one decoder would read each other's pictures.
    os.register_at_fork(after_in_child=_idle.clear)


def _check_readable(path: Path) -> None:
    """Raise UnreadableError for what the file system alone says."""
    try:
        if not path.is_file():
            raise FileNotFoundError(2, os.strerror(2))
        if not path.stat().st_size:
            raise _refuse(path, "it is empty (0 bytes).", "Copy it again, or leave it out.")
    except OSError as error:
        why = f"it cannot be read ({error.strerror or error})."
        raise _refuse(path, why, "Check the path.") from error


def _refuse(path: Path, why: str, todo: str) -> UnreadableError:
    return UnreadableError(str(path), why, todo)
