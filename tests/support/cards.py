"""A model card with nothing particular in it."""

from typing import Any

from facefusion_finetune.swappers.card import ModelCard


def create_card(**changes: Any) -> ModelCard:
    """A card; what the test is about is given."""
    values: dict[str, Any] = {
        "person": "jane",
        "version": 1,
        "base_name": "base_256",
        "base_sha256": "0" * 64,
        "base_vendor": "tests",
        "base_licence": "Apache-2.0",
        "type": "inswapper",
        "template": "arcface_128",
        "size": (256, 256),
        "mean": (0.0, 0.0, 0.0),
        "standard_deviation": (1.0, 1.0, 1.0),
        "person_vector": (1.0, *[0.0] * 511),
        "consent_digest": "0" * 64,
        "dataset_digest": "0" * 64,
        "preset": "none",
        "package_version": "0",
        "created": "2025-01-01T00:00:00+00:00",
        "judge_result": {},
    }
    return ModelCard(**(values | changes))
