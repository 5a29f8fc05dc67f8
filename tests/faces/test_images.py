"""One image file as a frame."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy
import pytest
from PIL import Image

from facefusion_finetune.errors import UnreadableError
from facefusion_finetune.faces.images import BACKGROUND_GREY, read_image

HEIGHT, WIDTH = 24, 36


@pytest.fixture
def picture() -> numpy.ndarray:
    """Smooth, so that a lossy file is close to it; each quarter has its own colour. RGB."""
    pixels = numpy.zeros((HEIGHT, WIDTH, 3), numpy.uint8)
    pixels[:12, :18], pixels[:12, 18:] = (200, 40, 40), (40, 200, 40)
    pixels[12:, :18], pixels[12:, 18:] = (40, 40, 200), (120, 120, 120)
    return pixels


def _difference(frame: numpy.ndarray, rgb: numpy.ndarray) -> float:
    assert frame.dtype == numpy.uint8
    assert frame.shape == rgb.shape
    return float(numpy.abs(frame[..., ::-1].astype(int) - rgb).mean())


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".jpg", ".webp", ".avif"])
def test_every_format_gives_the_picture(
    tmp_path: Path, picture: numpy.ndarray, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    options = {"quality": 95} if suffix in (".jpg", ".webp", ".avif") else {}
    Image.fromarray(picture).save(path, **options)
    assert _difference(read_image(path), picture) < 5


def test_heic_is_read_by_libheif(tmp_path: Path) -> None:
    """The encoder is under the GPL and not in pi-heif, so that the file comes with the tests."""
    path = Path(__file__).parents[1] / "data" / "quarters.heic"
    frame = read_image(path)
    assert frame.shape == (48, 64, 3)
    height, width = frame.shape[:2]
    # What its maker drew: red above on the left, blue above on the right, green below.
    top, bottom = frame[: height // 2], frame[height // 2 :]
    assert top[:, : width // 2].mean(axis=(0, 1)).argmax() == 2
    assert top[:, width // 2 :].mean(axis=(0, 1)).argmax() == 0
    assert bottom.mean(axis=(0, 1)).argmax() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_turns_the_picture_upright(
    tmp_path: Path, picture: numpy.ndarray, orientation: int, suffix: str
) -> None:
    turned = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: numpy.rot90(picture),
        7: numpy.rot90(picture, 2).transpose(1, 0, 2),
        8: numpy.rot90(picture, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(numpy.ascontiguousarray(turned)).save(path, exif=exif, quality=95)
    assert _difference(read_image(path), picture) < 6


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_become_eight(tmp_path: Path, picture: numpy.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    deep = picture[..., ::-1].astype(numpy.uint16) * 257
    cv2.imwrite(str(path), deep)
    assert _difference(read_image(path), picture) < 1
    grey = numpy.full((HEIGHT, WIDTH), 30000, numpy.uint16)
    cv2.imwrite(str(path), grey)
    assert numpy.abs(read_image(path).astype(int) - 30000 / 257).max() <= 1


def test_grey_and_palettes_become_colour(tmp_path: Path, picture: numpy.ndarray) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture).convert("L").save(path)
    grey = read_image(path)
    assert (grey[..., 0] == grey[..., 2]).all()
    Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    assert _difference(read_image(path), picture) < 3


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_parts_are_grey_not_what_they_hide(
    tmp_path: Path, picture: numpy.ndarray, depth: int
) -> None:
    alpha = numpy.full((HEIGHT, WIDTH), 255, numpy.uint8)
    alpha[:, :18], alpha[12:, 18:] = 0, 128
    every = numpy.dstack([picture[..., ::-1], alpha])
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), every.astype(numpy.uint16) * 257 if depth == 16 else every)
    frame = read_image(path)
    assert (frame[:, :18] == BACKGROUND_GREY).all()
    assert (frame[:12, 18:] == picture[:12, 18:, ::-1]).all()
    half = (picture[12:, 18:, ::-1].astype(int) + BACKGROUND_GREY) / 2
    assert numpy.abs(frame[12:, 18:] - half).max() <= 1


def test_turned_and_transparent(tmp_path: Path, picture: numpy.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = numpy.full((HEIGHT, WIDTH, 1), 255, numpy.uint8)
    alpha[:12] = 0
    every = numpy.rot90(numpy.dstack([picture, alpha]))
    path = tmp_path / "a.png"
    Image.fromarray(numpy.ascontiguousarray(every)).save(path, exif=exif)
    frame = read_image(path)
    assert (frame[:12] == BACKGROUND_GREY).all()
    assert (frame[12:] == picture[12:, :, ::-1]).all()


def _create_huge_png(path: Path, side: int) -> None:
    """A valid file of a few bytes a row: black, `side` x `side`."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 + side * 3) * 64, 1)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, content in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
            file.write(struct.pack(">I", len(content)) + name + content)
            file.write(struct.pack(">I", zlib.crc32(name + content)))


@pytest.mark.parametrize("side", [13_400, 20_000, 60_000])
def test_huge_picture_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    path = tmp_path / "a.png"
    _create_huge_png(path, side)
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: pytest.fail("it was decoded"))
    with pytest.raises(
        UnreadableError, match=r"more than 178 million pixels.* too many to decode safely"
    ) as caught:
        read_image(path)
    assert "Scale it down" in caught.value.todo


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"it is empty \(0 bytes\)"),
        (b"\x89PNG but no more", "cannot be decoded as an image"),
        (b"\xff\xd8\xff\xe0" + b"x" * 200, "cannot be decoded as an image"),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".heic", ".tif", ".webp"])
def test_broken_files(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=message):
        read_image(path)


def test_half_a_picture(tmp_path: Path, picture: numpy.ndarray) -> None:
    whole = tmp_path / "whole.png"
    noise = numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=numpy.uint8)
    Image.fromarray(noise).save(whole)
    path = tmp_path / "half.png"
    path.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(UnreadableError, match="cannot be decoded as an image"):
        read_image(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="No such file"):
        read_image(tmp_path / "a.png")
