"""Animated pictures as frames."""

from pathlib import Path

import numpy
import pytest
from PIL import Image

from facefusion_finetune.dataset.footage import animations
from facefusion_finetune.dataset.footage.animations import choose_pictures, plan_animation
from facefusion_finetune.dataset.footage.sources import list_sources, plan_source, read_frames
from facefusion_finetune.errors import UnreadableError

KINDS = [(".gif", {}), (".png", {}), (".webp", {"lossless": True}), (".avif", {"quality": 100})]


def _save(path: Path, greys: list[int], duration: int = 200, **options: object) -> Path:
    frames = [Image.new("RGB", (32, 16), (grey, grey, grey)) for grey in greys]
    # A point that moves: encoders join pictures that are equal.
    for number, frame in enumerate(frames):
        frame.putpixel((number % 32, 0), (255, 0, 0))
    frames[0].save(path, append_images=frames[1:], save_all=True, duration=duration, **options)
    return path


@pytest.mark.parametrize(("suffix", "options"), KINDS)
@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("duration", [40, 200])
def test_last_picture_is_among_them(
    tmp_path: Path, suffix: str, options: dict[str, object], count: int, duration: int
) -> None:
    greys = [20 * number for number in range(count)]
    (source,) = list_sources([_save(tmp_path / f"a{suffix}", greys, duration, **options)])
    assert source.kind == "animation"
    frames = list(read_frames(source))
    if duration == 200 or count == 2:
        assert len(frames) == count
        assert [frame.time for frame in frames] == pytest.approx(
            [number * duration / 1000 for number in range(count)]
        )
    assert numpy.median(frames[0].pixels) == pytest.approx(greys[0], abs=2)
    assert numpy.median(frames[-1].pixels) == pytest.approx(greys[-1], abs=2)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif"])
def test_name_does_not_matter(tmp_path: Path, suffix: str) -> None:
    path = _save(tmp_path / f"a{suffix}", [0, 100]).rename(tmp_path / "b.jpg")
    (source,) = list_sources([path])
    assert len(list(read_frames(source))) == 2


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_shots_and_equal_pictures(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (32, 16), (grey, 0, 0)) for grey in (0, 1, 200, 200, 0)]
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    durations = [200, 200, 200, 300, 200]
    frames[0].save(path, append_images=frames[1:], save_all=True, duration=durations, **options)
    (source,) = list_sources([path])
    read = list(read_frames(source))
    assert [frame.shot for frame in read] == [0, 0, 1, 2]
    assert [frame.time for frame in read] == pytest.approx([0, 0.2, 0.4, 0.9])


def test_choice_of_pictures() -> None:
    starts = [number * 0.04 for number in range(100)]
    chosen = choose_pictures(starts, 5, 1000)
    assert chosen == [*range(0, 100, 5), 99]
    assert choose_pictures(starts, 5, 3) == [0, 50, 99]
    assert choose_pictures(starts, 5, 1) == [0]
    assert choose_pictures([0.0], 5, 10) == [0]


def test_animation_that_breaks_off(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.gif", [0, 50, 100, 150])
    content = path.read_bytes()
    whole = plan_animation(path, 6, 100)
    path.write_bytes(content[: len(content) * 2 // 3])
    (source,) = list_sources([path])
    layout = plan_source(source)
    assert layout is not None
    assert 0 < len(layout.numbers) < len(whole.numbers)
    assert len(list(read_frames(source, layout=layout))) == len(layout.numbers)
    path.write_bytes(content[:20])
    with pytest.raises(UnreadableError):
        plan_animation(path, 6, 100)


def test_endless_animation_is_used_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _save(tmp_path / "a.gif", list(range(0, 200, 20)))
    monkeypatch.setattr(animations, "MAX_ANIMATION_PIXELS", 32 * 16 * 4)
    layout = plan_animation(path, 6, 100)
    assert list(layout.numbers) == [0, 1, 2, 3]
    assert layout.damage == f"{path}: only its first 4 pictures are used."
