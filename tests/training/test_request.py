"""What a training may be told: parsed, checked on this machine, and refused in words."""

from pathlib import Path
from typing import Any

import pytest

from facefusion_finetune.errors import UsageError
from facefusion_finetune.jobs.arguments import check_arguments
from facefusion_finetune.training.request import TrainRequest, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("512 mb", 512 * 10**6), ("1.5GiB", 3 * 2**29), ("2K", 2000), ("0", 0)],
)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4 parsecs", "-1GB", "4GBs", "4iB", "1,5GB", "nan"])
def test_text_that_is_not_a_size(text: str) -> None:
    with pytest.raises(UsageError, match="not a valid size"):
        parse_size(text)


def test_what_is_typed_becomes_a_request(tmp_path: Path) -> None:
    given = TrainRequest.parse(
        precision="bf16",
        cache=tmp_path / "new",
        cache_size="1.5GB",
        commercial=True,
        others=[tmp_path / "a", tmp_path / "b"],
    )
    given.check()
    assert (given.precision, given.cache_size, given.commercial) == ("bf16", 15 * 10**8, True)
    assert (given.cache, given.others) == (tmp_path / "new", (tmp_path / "a", tmp_path / "b"))


def test_defaults() -> None:
    request = TrainRequest()
    assert (request.base, request.preset, request.seed) == ("inswapper_128", "balanced", 0)
    assert (request.precision, request.others, request.trackers) == ("auto", (), ())
    assert (request.cache, request.cache_size) == (None, 4 * 10**9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"precision": "fp64"}, "precision fp64.*'auto', 'fp32', 'bf16' or 'fp16'"),
        ({"seed": -1}, "seed -1"),
        ({"cache_size": "plenty"}, "not a valid size"),
        ({"cache_size": -1}, "cache_size -1"),
        ({"cache": Path(__file__)}, "it is a file"),
        ({"trackers": ["excel"]}, "Use one of tensorboard"),
        ({"learning_rate": 1}, "learning_rate 1"),
    ],
)
def test_what_is_not_possible_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainRequest.parse(**wrong).check()


@pytest.mark.parametrize("kind", ["train", "estimate"])
def test_a_job_is_told_the_same(kind: Any, tmp_path: Path) -> None:
    values = {"base": "demo", "cache": str(tmp_path), "cache_size": "1GB", "trackers": ["mlflow"]}
    request = check_arguments(kind, values)
    assert request == TrainRequest(
        base="demo", cache=tmp_path, cache_size=10**9, trackers=("mlflow",)
    )
    assert check_arguments(kind, request.model_dump(mode="json")) == request


def test_a_job_of_the_version_before_is_read() -> None:
    before = {
        "base": "inswapper_128",
        "preset": "fast",
        "seed": 3,
        "resume": False,
        "judge": None,
        "targets": ["/footage"],
        "others": [],
        "commercial": False,
        "precision": "auto",
    }
    request = check_arguments("train", before)
    assert request == TrainRequest(preset="fast", seed=3, targets=(Path("/footage"),))
