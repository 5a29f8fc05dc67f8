"""ICC profiles of cameras and screens, and what their colours are in sRGB, by the formulas."""

import struct

import numpy

SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00008, 0.82491))
"""XYZ of red, green and blue, adapted to D50."""

SPACES = {"p3": (P3, None), "adobe": (ADOBE, 563 / 256), "prophoto": (PROPHOTO, 1.8)}
"""Primaries, and the exponent of the curve; None for that of sRGB."""


def create_profile(name: str) -> bytes:
    """A profile of version 4 with a matrix and a curve."""
    primaries, gamma = SPACES[name]
    curve = [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045]
    kind, numbers = (3, curve) if gamma is None else (0, [gamma])
    trc = b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(map(_fix, numbers))
    return _create("RGB ", {**_name_primaries(primaries), **dict.fromkeys(_TRC, trc)})


def create_grey_profile(gamma: float) -> bytes:
    """A profile for grey pictures."""
    curve = b"para\0\0\0\0" + struct.pack(">HH", 0, 0) + _fix(gamma)
    return _create("GRAY", {b"kTRC": curve})


def to_srgb(rgb: numpy.ndarray, name: str) -> numpy.ndarray:
    """(H, W, 3), 0 to 255: colours of the space in sRGB, by the formulas."""
    primaries, gamma = SPACES[name]
    share = rgb / 255.0
    linear = decode(share) if gamma is None else share**gamma
    matrix = numpy.linalg.inv(numpy.array(SRGB).T) @ numpy.array(primaries).T
    return encode(linear @ matrix.T) * 255


def decode(share: numpy.ndarray) -> numpy.ndarray:
    """From sRGB to light."""
    return numpy.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def encode(light: numpy.ndarray) -> numpy.ndarray:
    """From light to sRGB."""
    light = light.clip(0, 1)
    return numpy.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


_TRC = (b"rTRC", b"gTRC", b"bTRC")


def _name_primaries(primaries: tuple[tuple[float, ...], ...]) -> dict[bytes, bytes]:
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    return {name: _xyz(values) for name, values in zip(names, primaries, strict=True)}


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fix, values))


def _fix(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _text(text: str) -> bytes:
    content = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(content), 28) + content


def _create(space: str, tags: dict[bytes, bytes]) -> bytes:
    white = (0.96420, 1.0, 0.82491)
    tags = {b"desc": _text("test"), b"cprt": _text("none"), b"wtpt": _xyz(white), **tags}
    table, body, place = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        padded = content + b"\0" * (-len(content) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(content))
        body += padded
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sI4s4sQI12s48x",
        place + len(body),
        b"\0\0\0\0",
        0x04300000,
        b"mntr",
        space.encode("ascii"),
        b"XYZ ",
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0),
        b"acsp",
        b"\0\0\0\0",
        0,
        b"\0\0\0\0",
        b"\0\0\0\0",
        0,
        0,
        b"".join(map(_fix, white)),
    )
    return header + struct.pack(">I", len(tags)) + table + body
