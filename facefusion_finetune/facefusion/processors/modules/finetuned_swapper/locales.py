"""Every text of the processor."""

from typing import Any

LOCALES: dict[str, Any] = {
    "en": {
        "help": {
            "model": "choose the person to swap in: NAME, or NAME@VERSION of a tuned model"
            " (active: {active})",
            "pixel_boost": "choose the pixel boost resolution: a multiple of the model's size",
            "weight": "specify the degree of weight applied to the face, from 0 to 1",
        },
        "uis": {
            "model_dropdown": "FINETUNED SWAPPER MODEL",
            "pixel_boost_dropdown": "FINETUNED SWAPPER PIXEL BOOST",
            "weight_slider": "FINETUNED SWAPPER WEIGHT",
            "nobody_active": "Nobody can be swapped in yet. Train and activate a model in the tab"
            " 'finetune', or run: facefusion-finetune models activate NAME",
            "nobody_chosen": "Nobody is chosen.",
            "model_gone": "'{name}', who was chosen, is not active any more: the model was"
            " deactivated or deleted. Choose another one.",
        },
        "warnings": {
            "unproven": "model '{name}' is unproven: on held-out footage it was not shown to be"
            " better than its base",
            "options": "the options of the finetuned_swapper cannot be shown: {reason}. Update"
            " facefusion-finetune.",
        },
        "errors": {
            "no_model": {
                "given": "finetuned_swapper",
                "why": "no tuned model is chosen.",
                "todo": "Activate one (facefusion-finetune models activate NAME) and choose it:"
                " --finetuned-swapper-model NAME, or FINETUNED SWAPPER MODEL in the browser.",
            },
            "unknown_model": {
                "given": "model '{reference}'",
                "why": "no such model is active in this FaceFusion. Active: {active}.",
                "todo": "Choose one of these, or run: facefusion-finetune models activate NAME.",
            },
            "wrong_hash": {
                "given": "model '{name}'",
                "why": "the file is damaged: its crc32 {digest} is not the {expected} it was"
                " activated with. It is left as it is.",
                "todo": "Activate it again: facefusion-finetune models activate NAME@VERSION.",
            },
            "unreadable": {
                "given": "model '{name}'",
                "why": "a file of the model cannot be read ({reason}).",
                "todo": "Activate it again: facefusion-finetune models activate NAME@VERSION.",
            },
            "unsupported_type": {
                "given": "model '{name}'",
                "why": "its base is a swapper of the type '{type}', which this version cannot run.",
                "todo": "Use a model tuned from one of the types: {types}.",
            },
            "unsupported_template": {
                "given": "model '{name}'",
                "why": "this FaceFusion has no warp template '{template}'.",
                "todo": "Use a FaceFusion of the version the model was tuned with.",
            },
            "no_emap": {
                "given": "model '{name}'",
                "why": "it does not end in the 512 x 512 matrix that a swapper of the type '{type}'"
                " has.",
                "todo": "Activate it again: facefusion-finetune models activate NAME@VERSION.",
            },
            "no_converter": {
                "given": "a source for the model '{name}'",
                "why": "this FaceFusion has no swapper of the type '{type}', whose embedding"
                " converter it needs.",
                "todo": "Leave the source out to swap in the person the model was tuned to.",
            },
            "converter": {
                "given": "a source for the model '{name}'",
                "why": "the embedding converter {path} is missing or damaged, and could not be"
                " downloaded.",
                "todo": "Connect to the network and start again, or leave the source out to swap in"
                " the person the model was tuned to.",
            },
            "pixel_boost": {
                "given": "--finetuned-swapper-pixel-boost '{pixel_boost}'",
                "why": "it is no multiple of the size of the model '{name}'.",
                "todo": "Choose one of: {choices}.",
            },
            "weight": {
                "given": "--finetuned-swapper-weight '{weight}'",
                "why": "it is not between 0 and 1.",
                "todo": "Choose a number from 0 to 1; 0.5 is usual.",
            },
            "source": {
                "given": "source '{paths}'",
                "why": "it is neither an image nor an audio file that can be read.",
                "todo": "Name an image with a face, or leave the source out to swap in the person"
                " the model was tuned to.",
            },
            "source_face": {
                "given": "source '{paths}'",
                "why": "no face was detected in it.",
                "todo": "Name an image with a face, or leave the source out to swap in the person"
                " the model was tuned to.",
            },
        },
    }
}
