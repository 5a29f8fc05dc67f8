"""One image file as a frame."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy
import psutil
import pytest
from PIL import Image, ImageCms

from facefusion_finetune.errors import UnreadableError
from facefusion_finetune.faces import images
from facefusion_finetune.faces.images import read_animation, read_image, read_png
from facefusion_finetune.faces.pictures.colours import BACKGROUND_GREY
from facefusion_finetune.faces.pictures.decoding import DecodeError, PictureFile
from tests.support import profiles
from tests.support.waiting import wait_until

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
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".avif"])
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


@pytest.mark.parametrize("side", [10_500, 20_000, 60_000])
def test_huge_picture_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    path = tmp_path / "a.png"
    _create_huge_png(path, side)
    message = r"more than 110 million pixels.* too many to decode safely"
    with pytest.raises(UnreadableError, match=message) as caught:
        read_image(path)
    assert "Scale it down" in caught.value.todo
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: pytest.fail("it was decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda *arguments: pytest.fail("it was decoded"))
    with pytest.raises(DecodeError, match=message):
        PictureFile(path)


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


def _save_smooth(path: Path, **options: object) -> numpy.ndarray:
    """A picture of a hundred colours, RGB."""
    rows, columns = numpy.mgrid[0:64, 0:96]
    pixels = numpy.dstack([rows * 4, columns * 2 + 30, 250 - rows * 2 - columns]).astype("uint8")
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".webp", ".avif"])
@pytest.mark.parametrize("space", sorted(profiles.SPACES))
def test_colours_of_a_profile_become_srgb(tmp_path: Path, space: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    options = {} if suffix in (".png", ".tiff") else {"quality": 100, "subsampling": "4:4:4"}
    profile = profiles.create_profile(space)
    pixels = _save_smooth(path, icc_profile=profile, **options)
    right = profiles.to_srgb(pixels, space)
    difference = numpy.abs(read_image(path)[..., ::-1] - right)
    assert difference.mean() < (0.6 if suffix in (".png", ".tiff") else 2.5)
    assert numpy.abs(pixels - right).mean() > 2 * difference.mean()


def test_grey_profile_and_grey_in_a_profile_for_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    grey = numpy.tile(numpy.arange(256, dtype=numpy.uint8), (8, 1))
    Image.fromarray(grey).save(path, icc_profile=profiles.create_grey_profile(1.0))
    right = profiles.encode(grey / 255.0) * 255
    assert numpy.abs(read_image(path)[..., 1] - right).max() <= 1
    Image.fromarray(grey).save(path, icc_profile=profiles.create_profile("prophoto"))
    right = profiles.to_srgb(numpy.dstack([grey] * 3), "prophoto")
    assert numpy.abs(read_image(path)[..., ::-1] - right).max() <= 2


def test_damaged_or_foreign_profile_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    profile = profiles.create_profile("p3")
    for foreign in (b"junk", profile[:200], profiles.create_grey_profile(1.0)):
        pixels = _save_smooth(path, icc_profile=foreign)
        assert (read_image(path)[..., ::-1] == pixels).all()


def test_profile_of_srgb_changes_no_level(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = _save_smooth(path, icc_profile=profile)
    assert (read_image(path)[..., ::-1] == pixels).all()


def test_lab_becomes_srgb(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    colours = ((90, 40, 30), (200, 150, 130), (60, 90, 140), (128, 128, 128))
    pixels = numpy.repeat(numpy.array([colours], numpy.uint8), 4, axis=1).repeat(8, axis=0)
    light = profiles.decode(pixels / 255.0)
    xyz = light @ numpy.array(profiles.SRGB) / (0.96420, 1.0, 0.82491)
    root = numpy.where(xyz > 216 / 24389, numpy.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    lightness = (116 * root[..., 1] - 16) * 255 / 100
    a = 500 * (root[..., 0] - root[..., 1])
    b = 200 * (root[..., 1] - root[..., 2])
    lab = numpy.dstack([lightness, a, b]).round().astype(numpy.int16).astype(numpy.uint8)
    Image.frombytes("LAB", (len(colours) * 4, 8), lab.tobytes()).save(path)
    assert numpy.abs(read_image(path)[..., ::-1].astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_floating_point(tmp_path: Path, white: float, channels: int) -> None:
    path = tmp_path / "a.tif"
    pixels = _save_smooth(path)[..., ::-1]
    pixels = pixels if channels == 3 else pixels[..., 1]
    values = pixels.astype(numpy.float32) * white / 255
    # Highlights beyond white, and what is no number, are not the measure of the rest.
    values[0, 0], values[0, 1] = white * 1.5, numpy.nan
    cv2.imwrite(str(path), values)
    frame = read_image(path).astype(int)
    right = pixels if channels == 3 else numpy.dstack([pixels] * 3)
    assert numpy.abs(frame[1:] - right[1:]).max() <= 1
    assert (frame[0, 0] == 255).all()


def test_inks_become_srgb(tmp_path: Path) -> None:
    rgb = numpy.full((16, 16, 3), (200, 120, 40), numpy.uint8)
    for suffix in (".jpg", ".tif"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(rgb).convert("CMYK").save(path, quality=100)
        assert numpy.abs(read_image(path)[..., ::-1].astype(int) - rgb).max() <= 3


def _write_noise(path: Path, **options: object) -> bytes:
    noise = numpy.random.default_rng(3).integers(0, 256, (160, 160, 3), dtype=numpy.uint8)
    Image.fromarray(cv2.GaussianBlur(noise, (0, 0), 2)).save(path, quality=90, **options)
    return path.read_bytes()


KINDS = [{}, {"progressive": True}, {"restart_marker_rows": 2}, {"optimize": True}]
"""Ways to write a JPEG."""


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("filling", [b"\0", b"\x5a", None])
def test_jpeg_damaged_in_the_middle(
    tmp_path: Path, options: dict[str, object], filling: bytes | None
) -> None:
    path = tmp_path / "a.jpg"
    content = _write_noise(path, **options)
    middle, length = len(content) // 2, len(content) // 8
    lost = b"" if filling is None else filling * length
    path.write_bytes(content[:middle] + lost + content[middle + length :])
    with pytest.raises(UnreadableError, match="it is damaged"):
        read_image(path)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("length", [64, 512])
def test_jpeg_with_a_lost_sector(tmp_path: Path, place: float, length: int) -> None:
    """The data may go on to fit by chance; that zeros are no picture does not depend on it."""
    path = tmp_path / "a.jpg"
    content = bytearray(_write_noise(path))
    start = int(len(content) * place)
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="it is damaged"):
        read_image(path)


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_jpeg_is_not_damaged(tmp_path: Path, options: dict[str, object], mode: str) -> None:
    path = tmp_path / "a.jpg"
    picture = Image.new("RGB", (640, 640), "white")
    picture.paste(Image.effect_noise((64, 64), 40), (300, 300))
    picture.convert(mode).save(path, **options)
    assert (read_image(path)[:280] == 255).all()


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_jpeg_that_breaks_off(tmp_path: Path, options: dict[str, object], share: float) -> None:
    path = tmp_path / "a.jpg"
    content = _write_noise(path, **options)
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableError, match=r"it is damaged|cannot be decoded"):
        read_image(path)


@pytest.mark.parametrize("options", KINDS)
def test_jpeg_without_its_end_mark(tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "a.jpg"
    content = _write_noise(path, **options)
    right = read_image(path)
    for cut in (content[:-2], content[:-1], content + b"junk" * 100, content[:-2] + b"\0" * 3):
        path.write_bytes(cut)
        assert (read_image(path) == right).all()


def test_png_with_a_changed_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    content = bytearray(_write_noise(path))
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="it is damaged"):
        read_image(path)


def test_webp_that_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    content = _write_noise(path)
    path.write_bytes(content[:-1])
    with pytest.raises(UnreadableError, match=r"it is damaged \(its end is missing\)"):
        read_image(path)


STRANGERS = [
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n", "PostScript"),
    (b"\xc5\xd0\xd3\xc6" + b"\0" * 40, "PostScript"),
    (b"%PDF-1.7\n1 0 obj\n", "PDF"),
    (b"8BPS\0\1" + b"\0" * 40, "Photoshop"),
    (b'\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    (b"#define a_width 9\n#define a_height 9\nstatic char a_bits[] = {0};", "X bitmap"),
    (b"/* XPM */\nstatic char *a[] = {};", "X pixmap"),
    (b"P6\n9 9\n255\n" + b"\0" * 243, "no known picture format"),
    (b"\xd7\xcd\xc6\x9a" + b"\0" * 40, "no known picture format"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "no known picture format"),
    (b"<!DOCTYPE html><html></html>", "a web page"),
]


@pytest.mark.parametrize(("content", "name"), STRANGERS)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".heic"])
def test_other_formats_are_named_and_never_opened(
    tmp_path: Path, content: bytes, name: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=name):
        read_image(path)
    monkeypatch.setattr(Image, "open", lambda *arguments: pytest.fail("it was opened"))
    with pytest.raises(DecodeError, match=name):
        PictureFile(path)


def test_no_program_is_started_for_postscript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for Ghostscript says when it was started."""
    programs = tmp_path / "programs"
    programs.mkdir()
    ghostscript = programs / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch '{tmp_path / 'started'}'\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    images._end_decoders()
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    for name in ("a.jpg", "a.png", "a.tif", "a.webp", "a.heic", "a.gif"):
        path = tmp_path / name
        path.write_bytes(eps)
        with pytest.raises(UnreadableError, match="its content is PostScript"):
            read_image(path)
    assert not (tmp_path / "started").exists()


def test_format_is_decided_by_content(tmp_path: Path, picture: numpy.ndarray) -> None:
    for name in ("a.jpg", "b.heic", "c.jfif", "d"):
        path = tmp_path / name
        Image.fromarray(picture).save(path, "PNG")
        assert _difference(read_image(path), picture) == 0


def test_tile_larger_than_the_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    entries = [
        (256, 4, 10), (257, 4, 10), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, 60_000), (323, 4, 60_000), (324, 4, 200), (325, 4, 20),
    ]  # fmt: skip
    content = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    content += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    path.write_bytes(content.ljust(200, b"\0") + zlib.compress(b"\0" * 9999))
    with pytest.raises(UnreadableError, match="more than 110 million pixels"):
        read_image(path)


@pytest.mark.parametrize(("suffix", "name"), [(".gif", "GIF"), (".png", "PNG"), (".webp", "WEBP")])
def test_pictures_of_an_animation(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f"a{suffix}"
    greys = (0, 85, 170, 255)
    frames = [Image.new("RGB", (20, 10), (grey, grey, 0)) for grey in greys]
    options = {"lossless": True} if name == "WEBP" else {}
    frames[0].save(path, append_images=frames[1:], save_all=True, duration=200, **options)
    read = list(read_animation(path, range(9)))
    assert [number for number, _ in read] == [0, 1, 2, 3]
    assert [picture.duration for _, picture in read] == [0.2] * 4
    for grey, (_, picture) in zip(greys, read, strict=True):
        assert (picture.pixels == (0, grey, grey)).all()
    (_, small), *_ = read_animation(path, [2], side=4)
    assert small.pixels.shape == (4, 4, 3)
    assert small.size == (20, 10)


def _replace_decoder(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    images._end_decoders()
    monkeypatch.setattr(images, "_COMMAND", (sys.executable, "-c", program))


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import time; time.sleep(99)", r"takes more than \d+ seconds"),
        ("import os; input(); os.abort()", "takes too much memory, or crashes the decoder"),
    ],
)
def test_decoder_that_hangs_or_crashes_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: numpy.ndarray, program: str, why: str
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    with monkeypatch.context() as patch:
        _replace_decoder(patch, program)
        patch.setattr(images, "MAX_WAIT", 0.2 if "sleep" in program else images.MAX_WAIT)
        with pytest.raises(UnreadableError, match=why):
            read_image(path)
    assert read_image(path).shape == picture.shape


@pytest.mark.skipif(sys.platform != "linux", reason="other systems end it after its time")
def test_decoder_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """Neither when it waits nor within native code that would go on for many seconds."""
    path = tmp_path / "a.jpg"
    frame = b"\xff\xc2" + struct.pack(">HBHHBBBB", 11, 8, 10_000, 10_000, 1, 1, 0x11, 0)
    tables = b"".join(
        b"\xff\xc4" + struct.pack(">H", 20) + kind + b"\x01" + b"\0" * 16
        for kind in (b"\0", b"\x10")
    )
    scans = b"\xff\xda\0\x08\x01\x01\0\0\0\0" + b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0" * 5_000
    quantisation = b"\xff\xdb\0\x43\0" + b"\x01" * 64
    path.write_bytes(b"\xff\xd8" + quantisation + frame + tables + scans)
    program = (
        "import pathlib, sys; from facefusion_finetune.faces import images;"
        "decoder = images._Decoder(); print(decoder._process.pid, flush=True);"
        "decoder.ask(pathlib.Path(sys.argv[1]), 0)"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) as parent:
        assert parent.stdout is not None
        decoder = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: decoder.cpu_times().user > 1.5, "it does not decode")
        parent.kill()
    gone, _ = psutil.wait_procs([decoder], timeout=5)
    assert gone


def test_own_pictures_are_png_or_nothing(tmp_path: Path, picture: numpy.ndarray) -> None:
    path = tmp_path / "a.png"
    assert read_png(path) is None
    Image.fromarray(picture).save(path)
    read = read_png(path)
    assert read is not None
    assert (read[..., ::-1] == picture).all()
    for suffix in (".jpg", ".tif", ".bmp"):
        Image.fromarray(picture).save(tmp_path / f"b{suffix}")
        assert read_png(tmp_path / f"b{suffix}") is None
    path.write_bytes(path.read_bytes()[:20])
    assert read_png(path) is None
    _create_huge_png(path, 60_000)
    assert read_png(path) is None


def test_large_pictures_are_scaled_down(tmp_path: Path) -> None:
    """And are upright nevertheless."""
    path = tmp_path / "large.jpg"
    picture = Image.new("RGB", (8000, 4000), (20, 20, 20))
    picture.paste((230, 230, 230), (0, 0, 2000, 4000))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)
    pixels = read_image(path)
    assert pixels.shape == (6928, 3464, 3)
    assert abs(pixels[: 6928 // 4 - 8].astype(int) - 230).max() <= 2
    assert abs(pixels[6928 // 4 + 8 :].astype(int) - 20).max() <= 2
