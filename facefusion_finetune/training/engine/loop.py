"""The optimisation itself: batches in, tuned weights out, resumable at every checkpoint."""

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
from facefusion_finetune.training.engine.schedule import Clock, Schedule, Tunable, find_rate
from facefusion_finetune.training.engine.state import TrainingState
from facefusion_finetune.training.engine.trackers import Tracking

if TYPE_CHECKING:
    from facefusion_finetune.training.cache.feed import Feed


@dataclass(frozen=True)
class Trainer:
    """What the loop needs; see `optimise`."""

    accelerator: Accelerator
    swapper: Tunable
    feed: "Feed"
    options: SwapperOptions
    loss: Loss
    preset: Preset
    steps: int
    run: Run
    identity: Identity
    """Of the run; see `checkpoint.identify_run`."""
    validate: Callable[[], float] | None = None
    """Score, lower is better, of the weights that are in place."""
    permit: Callable[[], object] = lambda: None
    """Raises ConsentError where the training may not go on; called before anything is kept."""

    def optimise(
        self, resume: bool, observer: Observer, on_preview: Callable[[int], object]
    ) -> None:
        """Train; afterwards the swapper holds the weights to be written out.

        With several processes each computes its share of a step, and one does all the rest.

        Args:
            resume: Go on from the run's checkpoint.
            observer: Told about each step, and what is out of the ordinary.
            on_preview: Called when a preview is due, with the averaged weights in place.

        Raises:
            TrainingError: The loss stays no number, not even one sample fits into memory, or the
                checkpoint cannot be used.
            ConsentError: The training may not go on; the last checkpoint stays.
            StoppedError: The observer wanted it to; there is a checkpoint of the last step done.
            OSError: A checkpoint cannot be written.
        """
        with Tracking(self.accelerator, self.run, observer.on_note) as tracking:
            _Training(self, observer, on_preview, tracking).carry_out(resume)


class _Training:
    """One call of `Trainer.optimise`."""

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
        looks = preset.validate_every if trainer.validate else 0
        self.schedules = {
            "checkpoint": Schedule(preset.checkpoint_every, total, at_end=True),
            "preview": Schedule(preset.preview_every, total, at_end=True),
            "look": Schedule(looks, total, at_end=True),
        }
        self.clock = Clock(total, self.schedules)
        self.guard: Guard
        self.fault = ""

    def carry_out(self, resume: bool) -> None:
        """Train from where the run stands to its end."""
        trainer, state = self.trainer, self.state
        self._ask()
        done = self._begin(resume)
        while done < trainer.steps and not state.selection.is_exhausted:
            began = time.perf_counter()
            measured = self._step(done)
            if measured is None:
                done = self._return(done)
                continue
            done += 1
            seconds = time.perf_counter() - began
            self.clock.add_step(seconds)
            values = measured | {"seconds": seconds}
            if self.schedules["look"].is_due(done):
                values["score"] = self._look(done)
            if self.is_main:
                trainer.run.log(done, values)
                self.tracking.log(done, values)
            is_saved = self.schedules["checkpoint"].is_due(done) or state.selection.is_exhausted
            is_drawn = self.schedules["preview"].is_due(done)
            if is_saved or is_drawn:
                self._ask()
            if is_saved:
                self._save(done)
            if is_drawn and self.is_main:
                self._preview(done)
            left = self.clock.estimate_left(done)
            self.observer.on_step(done, trainer.steps, values | {"seconds_left": left})
            if self._any(self.observer.is_stopped()):
                self._stop(done, is_saved)
        if state.selection.is_exhausted and done < trainer.steps:
            self.observer.on_note(f"Stopped after step {done}: looking further found no better.")
        if (sentence := state.selection.explain()) is not None:
            self.observer.on_note(sentence)
        state.place_final()
        trainer.accelerator.wait_for_everyone()

    def _ask(self) -> None:
        """Make sure that all processes may go on, or stop all of them."""
        refusal = None
        try:
            self.trainer.permit()
        except ConsentError as error:
            refusal = error
        if self._any(refusal is not None):
            raise refusal or ConsentError(
                f"run {self.trainer.run.reference}",
                "another of its processes found no valid consent.",
                "See what that one says.",
            )

    def _any(self, value: bool) -> bool:
        """Whether it is true in any process."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes == 1:
            return value
        return bool(accelerator.reduce(torch.tensor(float(value), device=accelerator.device)))

    def _stop(self, done: int, is_saved: bool) -> None:
        """Leave off after a step, in such a way that it can be gone on with from there."""
        run = self.trainer.run
        if not is_saved:
            self._ask()
            self._save(done)
        # No process may end before the checkpoint is there.
        self.trainer.accelerator.wait_for_everyone()
        raise StoppedError(
            f"run {run.reference}",
            f"it was stopped after step {done} of {self.trainer.steps}, and nothing of it is lost.",
            f"Go on: facefusion-finetune train {run.record.person} --resume.",
        )

    def _begin(self, resume: bool) -> int:
        """Where to go on, with everything as it was then."""
        trainer = self.trainer
        path = trainer.run.checkpoint_path
        if not resume:
            if self.is_main:
                trainer.run.forget_metrics_after(-1)
            if self.schedules["look"].every:
                self._log(0, {"score": self._look(0)})
            self.guard = Guard([self.state.capture(trainer.identity, self._describe(0))])
            return 0
        # The main process may repair what the others then read.
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
        """One step; None if it came to something that is no number."""
        rate = self._rate(step)
        measured = self.gradients.compute(step)
        if not math.isfinite(measured["loss"]):
            self.fault = "loss"
            return None
        scale = self.state.loss_scale
        norm = self.state.clip()
        # At a larger scale the scaler leaves the step out and scales less: that is how it finds
        # its scale.
        if not math.isfinite(norm) and scale <= 1:
            self.state.skip()
            self.fault = "gradient"
            return None
        self.state.update(rate)
        self.state.average_in(step)
        return measured | {"learning_rate": rate, "gradient_norm": norm}

    def _rate(self, step: int) -> float:
        trainer = self.trainer
        return find_rate(trainer.preset, trainer.steps, step) * self.guard.rate_factor

    def _return(self, step: int) -> int:
        """Go back to the last good state, with a smaller rate."""
        run = self.trainer.run
        good = self.guard.return_from(step, self.fault, f"run {run.reference}")
        # What the machine taught since then stays.
        progress = replace(
            good.progress,
            micro_batch=self.gradients.micro_batch,
            scaler=self.state.read_scaler(),
        )
        self.state.restore(good, f"run {run.reference}")
        if self.is_main:
            # On disk at once, so that a resumed run has the same rate.
            save_checkpoint(run.checkpoint_path, replace(good, progress=progress), overwrite=True)
            run.forget_metrics_after(good.step)
        note = (
            f"Step {step + 1}: the {self.fault} is not a number any more. Going on from step"
            f" {good.step} at {self.guard.rate_factor:g} of the rate."
        )
        self._log(good.step, {"note": note, "rate_factor": self.guard.rate_factor})
        self.observer.on_note(note)
        return good.step

    def _look(self, done: int) -> float:
        """Score the averaged weights; the same in every process."""
        began = time.perf_counter()
        accelerator, validate = self.trainer.accelerator, self.trainer.validate
        score = 0.0
        if self.is_main and validate is not None:
            with self.state.averaged():
                score = validate()
        if accelerator.num_processes > 1:
            score = float(accelerator.reduce(torch.tensor(score, device=accelerator.device)))
        self.state.selection.add(done, score, self.state.average)
        self.clock.add_cost("look", time.perf_counter() - began)
        return score

    def _save(self, done: int) -> None:
        began = time.perf_counter()
        self.guard.pass_step(done)
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
            returns=0 if is_new else self.guard.returns,
            failed_at=-1 if is_new else self.guard.failed_at,
            scores=tuple(self.state.selection.scores),
            scaler=self.state.read_scaler(),
        )
