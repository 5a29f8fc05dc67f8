"""The training loop, resumable at every checkpoint."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator

from facefusion_finetune.errors import ConsentError, StoppedError
from facefusion_finetune.presets.preset import Preset
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.training.engine.checkpoint import (
    Identity,
    Progress,
    restore_checkpoint,
    save_checkpoint,
)
from facefusion_finetune.training.engine.gradients import Gradients, Loss
from facefusion_finetune.training.engine.guard import Guard
from facefusion_finetune.training.engine.schedule import (
    Clock,
    Schedule,
    Tunable,
    compute_learning_rate,
)
from facefusion_finetune.training.engine.state import TrainingState
from facefusion_finetune.training.engine.trackers import Tracking

if TYPE_CHECKING:
    from facefusion_finetune.training.cache.feed import Feed


@dataclass(frozen=True)
class Trainer:
    """Everything the training loop needs; see `train`."""

    accelerator: Accelerator
    swapper: Tunable
    feed: "Feed"
    options: SwapperOptions
    loss: Loss
    preset: Preset
    steps: int
    run: Run
    identity: Identity
    """The run's identity; see `identify_run`."""
    validate: Callable[[], float] | None = None
    """Validation score of the swapper's current weights; lower is better."""
    check_consent: Callable[[], object] = lambda: None
    """Raises ConsentError if the training must not continue; called before anything is saved."""

    def train(self, resume: bool, observer: Observer, on_preview: Callable[[int], object]) -> None:
        """Train; afterwards the swapper has the weights to export.

        With several processes, each computes its share of a step, and the main one does the rest.

        Args:
            resume: Resume from the run's checkpoint.
            observer: Receives the steps and notes.
            on_preview: Called when a preview is due, while the averaged weights are loaded.

        Raises:
            TrainingError: The loss stays NaN or infinite, not even one sample fits into memory, or
                the checkpoint cannot be used.
            ConsentError: Consent is no longer valid; the last checkpoint is kept.
            StoppedError: The observer requested a stop; the last step's checkpoint is saved.
            OSError: A checkpoint cannot be written.
        """
        with Tracking(self.accelerator, self.run, observer.on_note) as tracking:
            _Training(self, observer, on_preview, tracking).run(resume)


class _Training:
    """One call of `Trainer.train`."""

    def __init__(
        self,
        trainer: Trainer,
        observer: Observer,
        on_preview: Callable[[int], object],
        tracking: Tracking,
    ) -> None:
        preset, total = trainer.preset, trainer.steps
        self.trainer = trainer
        self.is_main = trainer.accelerator.is_main_process
        self.observer = observer if self.is_main else Observer()
        self.on_preview = on_preview
        self.tracking = tracking
        self.state = TrainingState(trainer.accelerator, trainer.swapper, preset)
        self.gradients = Gradients(
            trainer.accelerator,
            trainer.feed,
            trainer.loss,
            preset.losses.stay,
            trainer.options,
            self.state.trained,
            preset.batch_size,
            self.observer.on_note,
        )
        validate_every = preset.validate_every if trainer.validate else 0
        self.schedules = {
            "checkpoint": Schedule(preset.checkpoint_every, total, at_end=True),
            "preview": Schedule(preset.preview_every, total, at_end=True),
            "validation": Schedule(validate_every, total, at_end=True),
        }
        self.clock = Clock(total, self.schedules)
        self.guard: Guard
        self.fault = ""

    def run(self, resume: bool) -> None:
        """Train from the run's current step to the end."""
        trainer, state = self.trainer, self.state
        self._check_consent()
        done = self._restore(resume)
        if done and self.schedules["preview"].is_due(done) and self.is_main:
            # It follows the checkpoint, and may not have been drawn.
            self._preview(done)
        while done < trainer.steps and not state.early_stopping.should_stop:
            began = time.perf_counter()
            measured = self._step(done)
            if measured is None:
                done = self._roll_back(done)
                continue
            done += 1
            seconds = time.perf_counter() - began
            self.clock.add_step(seconds)
            values = measured | {"seconds": seconds}
            if self.schedules["validation"].is_due(done):
                values["score"] = self._validate(done)
            if self.is_main:
                trainer.run.log(done, values)
                self.tracking.log(done, values)
            is_saved = self.schedules["checkpoint"].is_due(done) or state.early_stopping.should_stop
            is_drawn = self.schedules["preview"].is_due(done)
            if is_saved or is_drawn:
                self._check_consent()
            if is_saved:
                self._save(done)
            if is_drawn and self.is_main:
                self._preview(done)
            left = self.clock.estimate_left(done)
            self.observer.on_step(done, trainer.steps, values | {"seconds_left": left})
            if self._any(self.observer.is_stopped()):
                self._stop(done, is_saved)
        if state.early_stopping.should_stop and done < trainer.steps:
            self.observer.on_note(
                f"Early stopping after step {done}: the score no longer improves."
            )
        if (sentence := state.early_stopping.explain()) is not None:
            self.observer.on_note(sentence)
        state.load_final()
        trainer.accelerator.wait_for_everyone()

    def _check_consent(self) -> None:
        """Raise ConsentError in all processes if any of them finds no valid consent."""
        refusal = None
        try:
            self.trainer.check_consent()
        except ConsentError as error:
            refusal = error
        if self._any(refusal is not None):
            raise refusal or ConsentError(
                f"run {self.trainer.run.reference}",
                "another process of it found no valid consent.",
                "See that process's message.",
            )

    def _any(self, value: bool) -> bool:
        """Whether it is true in any process."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes == 1:
            return value
        return bool(accelerator.reduce(torch.tensor(float(value), device=accelerator.device)))

    def _stop(self, done: int, is_saved: bool) -> None:
        """Stop after a step, with a checkpoint to resume from."""
        run = self.trainer.run
        if not is_saved:
            self._check_consent()
            self._save(done)
        # No process may exit before the checkpoint is written.
        self.trainer.accelerator.wait_for_everyone()
        raise StoppedError(
            f"run {run.reference}",
            f"it was stopped after step {done} of {self.trainer.steps}; nothing is lost.",
            f"Resume with: facefusion-finetune train {run.record.person} --resume.",
        )

    def _restore(self, resume: bool) -> int:
        """The number of completed steps to start from, with the state restored."""
        trainer = self.trainer
        path = trainer.run.checkpoint_path
        if not resume:
            if self.is_main:
                trainer.run.forget_metrics_after(-1)
            if self.schedules["validation"].every:
                self._log(0, {"score": self._validate(0)})
            self.guard = Guard([self.state.capture(trainer.identity, self._describe(0))])
            return 0
        # The main process may repair the files before the others read them.
        with trainer.accelerator.main_process_first():
            states = restore_checkpoint(path, trainer.identity, self.observer.on_note)
        self.guard = Guard(states)
        last = states[-1]
        self.state.restore(last, str(path))
        self.state.restore_scaler(last.progress.scaler)
        self.gradients.micro_batch = min(self.gradients.micro_batch, last.progress.micro_batch)
        if self.is_main:
            trainer.run.forget_metrics_after(last.step)
        return last.step

    def _step(self, step: int) -> dict[str, float] | None:
        """Run one step; None if the loss or the gradient is NaN or infinite."""
        rate = self._compute_rate(step)
        measured = self.gradients.compute(step)
        if not math.isfinite(measured["loss"]):
            self.fault = "loss"
            return None
        scale = self.state.loss_scale
        norm = self.state.clip()
        # At a larger scale, the scaler skips the step and lowers the scale, which is how it finds
        # a suitable one.
        if not math.isfinite(norm) and scale <= 1:
            self.state.skip_update()
            self.fault = "gradient"
            return None
        self.state.update(rate)
        self.state.update_average(step)
        return measured | {"learning_rate": rate, "gradient_norm": norm}

    def _compute_rate(self, step: int) -> float:
        trainer = self.trainer
        return compute_learning_rate(trainer.preset, trainer.steps, step) * self.guard.rate_factor

    def _roll_back(self, step: int) -> int:
        """Go back to the last good state, with a lower learning rate; returns its step."""
        run = self.trainer.run
        good = self.guard.roll_back(step, self.fault, f"run {run.reference}")
        # The micro-batch and loss scale found since then are kept.
        progress = replace(
            good.progress,
            micro_batch=self.gradients.micro_batch,
            scaler=self.state.read_scaler(),
        )
        self.state.restore(good, f"run {run.reference}")
        if self.is_main:
            # Saved immediately, so that a resumed run has the same learning rate.
            save_checkpoint(run.checkpoint_path, replace(good, progress=progress), overwrite=True)
            run.forget_metrics_after(good.step)
        note = (
            f"Step {step + 1}: the {self.fault} became NaN or infinite. Continuing from step"
            f" {good.step} at {self.guard.rate_factor:g} of the learning rate."
        )
        self._log(good.step, {"note": note, "rate_factor": self.guard.rate_factor})
        self.observer.on_note(note)
        return good.step

    def _validate(self, done: int) -> float:
        """Validation score of the averaged weights; the same in every process."""
        began = time.perf_counter()
        accelerator, validate = self.trainer.accelerator, self.trainer.validate
        score = 0.0
        if self.is_main and validate is not None:
            with self.state.averaged():
                score = validate()
        if accelerator.num_processes > 1:
            score = float(accelerator.reduce(torch.tensor(score, device=accelerator.device)))
        self.state.early_stopping.add(done, score, self.state.average)
        self.clock.add_cost("validation", time.perf_counter() - began)
        return score

    def _save(self, done: int) -> None:
        began = time.perf_counter()
        self.guard.note_progress(done)
        checkpoint = self.state.capture(self.trainer.identity, self._describe(done))
        if self.is_main:
            save_checkpoint(self.trainer.run.checkpoint_path, checkpoint)
        self.guard.keep(checkpoint)
        self.clock.add_cost("checkpoint", time.perf_counter() - began)

    def _preview(self, done: int) -> None:
        began = time.perf_counter()
        with self.state.averaged():
            self.on_preview(done)
        self.clock.add_cost("preview", time.perf_counter() - began)

    def _log(self, step: int, values: dict[str, object]) -> None:
        if self.is_main:
            self.trainer.run.log(step, values)

    def _describe(self, done: int) -> Progress:
        is_new = done == 0
        return Progress(
            step=done,
            micro_batch=self.gradients.micro_batch,
            rate_factor=1.0 if is_new else self.guard.rate_factor,
            returns=0 if is_new else self.guard.rollbacks,
            failed_at=-1 if is_new else self.guard.failed_at,
            scores=tuple(self.state.early_stopping.scores),
            scaler=self.state.read_scaler(),
        )
