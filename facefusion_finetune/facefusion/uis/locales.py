"""Every text of the page."""

from typing import Any

from facefusion_finetune.facefusion.uis.locales_models import TEXTS as MODEL_TEXTS
from facefusion_finetune.facefusion.uis.locales_training import TEXTS as TRAINING_TEXTS

LOCALES: dict[str, Any] = {
    "en": {
        "uis": {
            "notices": {
                "disk": "{path}: {reason}. Check your rights and the room on the disk; what was"
                " there is kept.",
            },
            "person": {
                "person_dropdown": "PERSON",
                "consent_accordion": "NEW PERSON, OR NEW CONSENT",
                "name_textbox": "NAME",
                "name_placeholder": "letters, digits, '_', '-', '.'",
                "consent_note_textbox": "CONSENT: WHO AGREED TO WHAT, AND WHEN",
                "consent_note_placeholder": "Jane Doe agreed in writing on 3 May to a model of her"
                " face. Fill this in, or give a file below.",
                "consent_file": "OR A SIGNED FORM OR RECORDING",
                "consent_scope_textbox": "WHAT IT COVERS",
                "consent_expires_textbox": "LAST DAY IT HOLDS",
                "consent_expires_placeholder": "YYYY-MM-DD; empty if it has no end",
                "add_person_button": "ADD PERSON",
                "renew_consent_button": "RENEW CONSENT",
                "delete_accordion": "DELETE PERSON",
                "delete_person_textbox": "TYPE THE NAME TO DELETE",
                "delete_person_info": "Crops, vectors, runs and models go, in every FaceFusion the"
                " person was active in. Your footage stays.",
                "delete_person_button": "DELETE EVERYTHING",
                "delete_given": "deleting person '{name}'",
                "delete_why": "the name was not typed.",
                "delete_todo": "Type {name} into the field to delete everything held about the"
                " person.",
                "proof_given": "consent",
                "proof_why": "a person is recorded only with exactly one proof of consent.",
                "proof_todo": "Write who agreed to what, and when; or give the signed form or a"
                " recording.",
                "recorded": "{name}: consent recorded.",
                "day_given": "last day '{text}'",
                "day_why": "it is no day.",
                "day_todo": "Write it as in 2027-01-31, or leave the field empty.",
                "nobody": "Nobody is on record yet. Nothing of anybody is kept before the consent"
                " is: record a person below.",
                "nobody_given": "person",
                "nobody_why": "nobody is chosen.",
                "nobody_todo": "Choose a person, or add one with the consent.",
                "no_consent_todo": "Ask again, then renew the consent below; nothing is extracted,"
                " trained or activated before.",
                "consent": "Consent ({kind}: {text}) recorded on {day}{until}.\nIt covers:"
                " {scope}.",
                "kind_note": "note",
                "kind_file": "file",
                "until": ", holds until {day}",
                "crops": "{kept} crops of {shots} shots train or judge; models: {versions}.",
            },
            "footage": {
                "footage_files": "FOOTAGE FILES",
                "footage_folder": "FOOTAGE FOLDER",
                "footage_path_textbox": "FOLDER ON THIS MACHINE",
                "footage_path_info": "Inside: {roots}",
                "options_accordion": "OTHER PEOPLE, SAMPLING",
                "reference_files": "PICTURE OF THE PERSON",
                "fps_slider": "FRAMES OF EACH SECOND",
                "most_frames_slider": "MOST FRAMES OF A VIDEO",
                "others_checkbox": "KEEP OTHER PEOPLE'S FACES FOR TRAINING (WITH THEIR CONSENT)",
                "extract_button": "EXTRACT",
                "extract_stop_button": "STOP",
                "crops_radio": "CROPS",
                "crops_all": "all ({count})",
                "crops_kept": "kept ({count})",
                "crops_rejected": "rejected ({count})",
                "crop": "{id}, {state}: {source}, frame {frame}; {reason}",
                "reject_button": "REJECT",
                "restore_button": "RESTORE",
                "rejected": "{count} crops rejected; {kept} kept in all.",
                "restored": "{count} crops restored; {kept} kept in all.",
                "coverage": "What the crops of {name} cover: poses, eyes, mouth, light and shots",
                "advice": "What to film next",
                "no_footage_given": "footage",
                "no_footage_why": "there is none.",
                "no_footage_todo": "Choose videos or pictures, or a folder.",
                "no_crops_given": "crops",
                "no_crops_why": "none is ticked.",
                "no_crops_todo": "Tick crops in the gallery first.",
                "path_given": "folder '{path}'",
                "path_why": "it is not there, or not inside {roots}.",
                "path_todo": "Name a folder inside, or upload the footage.",
                "result": "{kept} of {faces} faces in {frames} frames kept; {total} crops in all.",
                "result_known": "{known} files were known already.",
                "result_rejected": "Left out: {reasons}.",
                "result_others": "{others} other people were seen; nothing of them is kept.",
            },
            **TRAINING_TEXTS,
            **MODEL_TEXTS,
        }
    }
}
