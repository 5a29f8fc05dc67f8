"""The soak's figures and its picture."""

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.soak.__main__ import CURVES, Sample, describe, draw, measure_growth


def create_samples(kib: float, sessions: int = 1) -> list[Sample]:
    """Two hundred frames at which memory grows by so many KiB a frame, after a rise at first."""
    return [
        {
            "frames": frames,
            "mib": 300 + kib * frames / 1024 + (50 if frames > 25 else 0),
            "descriptors": 14,
            "threads": 20,
            "faces": frames,
            "sessions": sessions,
        }
        for frames in range(25, 201, 25)
    ]


@pytest.mark.parametrize("kib", [0.0, 11.5, -2.0])
def test_growth_is_that_of_the_second_half(kib: float) -> None:
    assert measure_growth(create_samples(kib)) == pytest.approx(kib, abs=1e-6)


def test_one_line_of_figures() -> None:
    assert describe(CURVES[0], create_samples(10.24, 2)) == (
        f"{CURVES[0].label}: frames 25 -> 200, MiB 300 -> 352, descriptors 14 -> 14,"
        " threads 20 -> 20, faces 25 -> 200, at most 2 session(s),"
        " +10.2 KiB a frame in the second half"
    )


def test_curves_are_drawn(tmp_path: Path) -> None:
    draw({CURVES[0]: create_samples(0), CURVES[1]: create_samples(100)}, tmp_path / "soak.png")
    picture = Image.open(tmp_path / "soak.png").convert("RGB")
    colours = {colour for _, colour in picture.getcolors(1 << 20) or []}
    for curve in CURVES[:2]:
        wanted = tuple(int(curve.colour[place : place + 2], 16) for place in (1, 3, 5))
        assert any(
            max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) < 8 for colour in colours
        )
