"""Whoever uses a model that was not shown to be better is told so."""

from pathlib import Path

import pytest

from tests.support import host as support

pytestmark = pytest.mark.host


@pytest.mark.parametrize("proven", [True, False])
def test_unproven_models_are_marked(
    linked_host: Path, target_image: Path, tmp_path: Path, proven: bool
) -> None:
    name = "proven" if proven else "doubtful"
    judged = {"verdict": "better" if proven else "no difference", "proven": proven, "judge": None}
    path = support.register_model(linked_host, name, 1, judge_result=judged)
    try:
        arguments = ("-t", target_image, "-o", tmp_path / "output.png")
        done = support.run_processor(
            linked_host, *arguments, "--finetuned-swapper-model", name, "--log-level", "info"
        )
        assert done.code == 0, done.output
        assert (f"model '{name}-1' is unproven" in done.output) is not proven
        usage = support.run_host(linked_host, "headless-run", "--help")
        words = " ".join(usage.output.split())
        assert (f"{name} (unproven)" in words) is not proven
        assert name in words
    finally:
        for file in path.parent.glob(f"{name}-1.*"):
            file.unlink()
