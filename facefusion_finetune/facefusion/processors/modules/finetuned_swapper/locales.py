"""All texts of the processor."""

from typing import Any

LOCALES: dict[str, Any] = {
    "en": {
        "help": {
            "model": "choose the person to swap in: NAME, or NAME@VERSION of a tuned model"
            " (active: {active})",
            "pixel_boost": "choose the pixel boost resolution: a multiple of the model's size",
            "weight": "specify the weight of the source face, from 0 to 1",
        },
        "uis": {
            "model_dropdown": "FINETUNED SWAPPER MODEL",
            "pixel_boost_dropdown": "FINETUNED SWAPPER PIXEL BOOST",
            "weight_slider": "FINETUNED SWAPPER WEIGHT",
            "nobody_active": "There is no active model. Train and activate one in the tab"
            " 'finetune', or run: facefusion-finetune models activate NAME",
            "nobody_chosen": "No model is selected.",
            "model_gone": "'{name}' is no longer active: the model was deactivated or deleted."
            " Select another one.",
        },
        "warnings": {
            "unproven": "model '{name}' is unproven: it is not shown to be better than its base on"
            " held-out footage",
            "options": "the options of the finetuned_swapper cannot be shown: {reason}. Update"
            " facefusion-finetune.",
        },
        "errors": {
            "no_model": {
                "given": "finetuned_swapper",
                "why": "no tuned model is selected.",
                "todo": "Activate one (facefusion-finetune models activate NAME) and select it:"
                " --finetuned-swapper-model NAME, or FINETUNED SWAPPER MODEL in the browser.",
            },
            "unknown_model": {
                "given": "model '{reference}'",
                "why": "no such model is active in this FaceFusion. Active: {active}.",
                "todo": "Choose one of these, or run: facefusion-finetune models activate NAME.",
            },
            "wrong_hash": {
                "given": "model '{name}'",
                "why": "the file is damaged: its crc32 is {digest}, but was {expected} when it was"
                " activated. The file was not changed.",
                "todo": "Activate it again: facefusion-finetune models activate NAME@VERSION.",
            },
            "unreadable": {
                "given": "model '{name}'",
                "why": "a file of the model cannot be read ({reason}).",
                "todo": "Activate it again: facefusion-finetune models activate NAME@VERSION.",
            },
            "unsupported_type": {
                "given": "model '{name}'",
                "why": "its base is a swapper of type '{type}', which this version cannot run.",
                "todo": "Use a model tuned from a base of type {types}.",
            },
            "unsupported_template": {
                "given": "model '{name}'",
                "why": "this FaceFusion has no warp template '{template}'.",
                "todo": "Use the FaceFusion version the model was tuned with.",
            },
            "no_emap": {
                "given": "model '{name}'",
                "why": "it lacks the final 512 x 512 matrix of a swapper of type '{type}'.",
                "todo": "Activate it again: facefusion-finetune models activate NAME@VERSION.",
            },
            "no_converter": {
                "given": "source for model '{name}'",
                "why": "this FaceFusion has no swapper of type '{type}', whose embedding converter"
                " is needed.",
                "todo": "Remove the source to swap in the person the model was tuned to.",
            },
            "converter": {
                "given": "source for model '{name}'",
                "why": "the embedding converter {path} is missing or damaged, and could not be"
                " downloaded.",
                "todo": "Connect to the network and try again, or remove the source to swap in the"
                " person the model was tuned to.",
            },
            "pixel_boost": {
                "given": "--finetuned-swapper-pixel-boost '{pixel_boost}'",
                "why": "it is not a multiple of the size of model '{name}'.",
                "todo": "Use one of: {choices}.",
            },
            "weight": {
                "given": "--finetuned-swapper-weight '{weight}'",
                "why": "it is not between 0 and 1.",
                "todo": "Use a number from 0 to 1; the default is 0.5.",
            },
            "source": {
                "given": "source '{paths}'",
                "why": "it is not a readable image or audio file.",
                "todo": "Use an image with a face, or remove the source to swap in the person the"
                " model was tuned to.",
            },
            "source_face": {
                "given": "source '{paths}'",
                "why": "no face was detected in it.",
                "todo": "Use an image with a face, or remove the source to swap in the person the"
                " model was tuned to.",
            },
        },
    }
}
