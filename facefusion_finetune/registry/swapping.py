"""Swaps faces in pictures with a person's model, without FaceFusion's processor."""

from functools import partial

from facefusion_finetune.errors import FootageError
from facefusion_finetune.faces.protocol import FaceAnalyser, VisionFrame
from facefusion_finetune.people.profile import confirm_consent
from facefusion_finetune.registry.store import read_card, require_finished
from facefusion_finetune.runs.base_swapper import BaseSwapper
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.card import ModelCard
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.swappers.sessions import create_session, rgb_to_crops, run_session
from facefusion_finetune.swappers.source import restore_source


class PersonSwapper:
    """A finished run's model, driven by the person stored in it."""

    def __init__(self, run: Run, analyser: FaceAnalyser) -> None:
        """Open the model.

        Args:
            run: A finished run.
            analyser: Checks the content; finds, aligns and pastes back faces.

        Raises:
            RegistryError: The run has no model, or its card is damaged.
            SwapperError: The file cannot be opened.
        """
        require_finished(run)
        self.card = read_card(run.model_path)
        self._analyser = analyser
        session = create_session(run.model_path, run.reference)
        self._network = BaseSwapper(partial(run_session, session), _create_options(run, self.card))
        self._source = restore_source(self.card, read_swapper(run.model_path).emap)

    def swap(self, picture: VisionFrame) -> VisionFrame:
        """Swap every face in a copy of a picture.

        Args:
            picture: (H, W, 3), BGR, 0 to 255.

        Returns:
            (H, W, 3), BGR, 0 to 255.

        Raises:
            ConsentError: The person's consent is missing or has expired.
            FootageError: The content check refuses the picture, or no face is found in it.
        """
        confirm_consent(self.card.person)
        analyser = self._analyser
        if analyser.is_frame_blocked(picture):
            raise FootageError(
                "the picture", "the content check refuses it.", "Use another picture."
            )
        faces = analyser.detect_faces(picture)
        if not faces:
            raise FootageError(
                "the picture", "no face was found in it.", "Use a picture that shows a face."
            )
        swapped = picture
        for face in faces:
            crop, matrix = analyser.warp_face(
                swapped, face.landmark_5, self.card.template, self.card.size
            )
            swap = rgb_to_crops(self._network.swap(crop[None], self._source[None]))[0]
            mask = analyser.create_paste_mask(crop)
            swapped = analyser.paste_back(swapped, swap, mask, matrix)
        return swapped


def _create_options(run: Run, card: ModelCard) -> SwapperOptions:
    return SwapperOptions(
        name=card.base_name,
        path=run.model_path,
        type=card.type,
        template=card.template,
        size=card.size,
        mean=card.mean,
        standard_deviation=card.standard_deviation,
        vendor=card.base_vendor,
        licence=card.base_licence,
    )
