"""What a model from another machine says of itself: checked, and taken as a claim."""

import json
import math
import re
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from facefusion_finetune.errors import RegistryError, SwapperError
from facefusion_finetune.people.profile import Person
from facefusion_finetune.registry.store import read_card
from facefusion_finetune.runs.run import next_version
from facefusion_finetune.swappers.card import ModelCard
from facefusion_finetune.swappers.catalogue import find_family

LONGEST_TEXT = 500
LARGEST_SIDE = 4096
ASK_AGAIN = "Ask for it again, as `facefusion-finetune models export` writes it."


def read_claimed_card(path: Path, source: Path | None = None) -> ModelCard:
    """The card of an untrusted file, with every field of its type, and harmless to print.

    Args:
        path: The file.
        source: What the user calls it, for the error.

    Raises:
        RegistryError: The file cannot be read, or its card is missing or damaged.
    """
    given = str(source or path)
    try:
        # By way of JSON: only from there does a strict check take an object for a dataclass.
        text = json.dumps(asdict(read_card(path)))
        card = TypeAdapter(ModelCard).validate_json(text, strict=True)
        find_family(card.type, "its card")
        datetime.fromisoformat(card.created)
    except (RegistryError, SwapperError) as error:
        raise RegistryError(given, error.why, ASK_AGAIN) from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        reason = f"{fault['loc'][0]}: {fault['msg']}"
        raise RegistryError(given, f"its card is damaged ({reason}).", ASK_AGAIN) from error
    except ValueError as error:
        raise RegistryError(given, "its card is damaged (no date).", ASK_AGAIN) from error
    problem = _find_problem(card)
    if problem is not None:
        raise RegistryError(given, f"its card is damaged ({problem}).", ASK_AGAIN)
    return card


def adopt_card(claimed: ModelCard, person: Person) -> ModelCard:
    """The card as the next version of a person here; what was proven there is a claim here."""
    judged = claimed.judge_result
    return replace(
        claimed,
        person=person.name,
        version=next_version(person),
        label=ModelCard.label,
        judge_result=judged
        | {
            "proven": False,
            "made_elsewhere": True,
            "proven_elsewhere": bool(judged.get("proven_elsewhere", judged.get("proven"))),
        },
    )


def _find_problem(card: ModelCard) -> str | None:
    if not re.fullmatch("[0-9a-f]{64}", card.base_sha256):
        return "the sha256 of its base is none"
    if card.version < 1 or not all(0 < side <= LARGEST_SIDE for side in card.size):
        return "its version or the size of its crop is impossible"
    numbers = [*card.mean, *card.standard_deviation]
    if not all(map(math.isfinite, numbers)) or min(card.standard_deviation) <= 0:
        return "its normalisation is impossible"
    if not card.get_vector().any():
        return "its person's vector is empty"
    return _find_bad_text(asdict(replace(card, person_picture=None)))


def _find_bad_text(value: object) -> str | None:
    """Text that is too long or that a terminal would obey; None if there is none."""
    if isinstance(value, str) and (len(value) > LONGEST_TEXT or not value.isprintable()):
        return "a text in it is too long or cannot be printed"
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        return next(filter(None, map(_find_bad_text, value)), None)
    return None
