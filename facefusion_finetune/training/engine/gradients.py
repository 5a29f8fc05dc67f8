"""The gradients of one step, accumulated over micro-batches and summed over all processes."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache
from torch import Tensor, nn

from facefusion_finetune.errors import TrainingError, is_out_of_memory
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.training.losses.swap_loss import scale_to_rgb
from facefusion_finetune.training.pairs.pair_set import Batch

if TYPE_CHECKING:
    from facefusion_finetune.training.cache.feed import Feed


class Loss(Protocol):
    """The loss to minimise; see `SwapLoss`."""

    def __call__(self, output: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """(n,) loss of each sample, and (n,) values of each loss term."""

    def measure_stay(self, trained: Mapping[str, Tensor], origin: Mapping[str, Tensor]) -> Tensor:
        """Distance of the weights from the base's, ()."""


class Gradients:
    """Computes the gradients of a step, and adapts the micro-batch size to the memory."""

    def __init__(
        self,
        accelerator: Accelerator,
        feed: "Feed",
        loss: Loss,
        stay: float,
        options: SwapperOptions,
        trained: Mapping[str, nn.Parameter],
        batch_size: int,
        on_note: Callable[[str], None],
    ) -> None:
        """Start with all samples of a process in one micro-batch.

        Args:
            accelerator: Has the device, the precision and the number of processes.
            feed: Runs the swapper on pairs.
            loss: The loss to minimise.
            stay: Weight of the distance from the current weights.
            options: The swapper's options.
            trained: Tensors that get gradients.
            batch_size: Samples per step, over all processes.
            on_note: Called if a micro-batch does not fit into memory.

        Raises:
            TrainingError: There are more processes than samples.
        """
        if accelerator.num_processes > batch_size:
            raise TrainingError(
                f"{accelerator.num_processes} processes",
                f"a step has only {batch_size} samples, so some processes would be idle.",
                "Start fewer processes, or increase the preset's batch_size.",
            )
        self.micro_batch = -(-batch_size // accelerator.num_processes)
        self._accelerator = accelerator
        self._feed = feed
        self._loss = loss
        self._stay = stay
        self._options = options
        self._trained = trained
        self._on_note = on_note
        self._origin = (
            {name: tensor.detach().clone() for name, tensor in trained.items()} if stay else {}
        )

    def compute(self, step: int) -> dict[str, float]:
        """Set the gradients of step `step`, counted from 0.

        Returns:
            The loss as `loss`, and the batch mean of each loss term; the same in every process.

        Raises:
            TrainingError: Not even one sample fits into memory.
        """
        accelerator = self._accelerator
        rows = self._feed.draw(step)
        # Interleaved, since the kinds of pairs come in order.
        share = rows[accelerator.process_index :: accelerator.num_processes]
        self._clear()
        while True:
            sums = self._accumulate(share, len(rows), step)
            if not self._any(sums is None):
                break
            self._clear()
            clear_device_cache(garbage_collection=True)
            self._reduce_micro_batch(step, len(rows))
        assert sums is not None
        if accelerator.num_processes > 1:
            self._sum_gradients()
            sums = dict(
                zip(sums, accelerator.reduce(torch.stack(list(sums.values()))), strict=True)
            )
        return dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))

    def _accumulate(self, rows: Sequence[int], total: int, step: int) -> dict[str, Tensor] | None:
        """Gradients of this process's rows, part by part; None if memory runs out."""
        try:
            sums: dict[str, Tensor] = {}
            for start in range(0, len(rows), self.micro_batch):
                part = rows[start : start + self.micro_batch]
                with self._accelerator.autocast():
                    output, batch = self._feed.run(part, step)
                    # The loss chooses its own precision; pictures are compared in fp32.
                    rgb = scale_to_rgb(output.float(), self._options)
                    totals, terms = self._loss(rgb, batch)
                loss = totals.sum() / total
                self._accelerator.backward(loss)
                found = {"loss": loss, **{name: term.sum() / total for name, term in terms.items()}}
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + value.detach().float()
            if self._stay:
                self._add_stay(sums)
            return sums
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _add_stay(self, sums: dict[str, Tensor]) -> None:
        """Add the loss term that does not depend on samples, once for all processes."""
        distance = self._loss.measure_stay(self._trained, self._origin)
        sums["stay"] = torch.zeros_like(distance)
        if self._accelerator.is_main_process:
            self._accelerator.backward(self._stay * distance)
            sums["stay"] = distance.detach()
            sums["loss"] = sums["loss"] + self._stay * distance.detach()

    def _reduce_micro_batch(self, step: int, total: int) -> None:
        if self.micro_batch == 1:
            raise TrainingError(
                f"step {step + 1}",
                "not even one sample fits into memory.",
                "Close other programs, train fewer layers, or use a smaller base.",
            )
        self.micro_batch = max(1, self.micro_batch // 2)
        self._on_note(
            f"Step {step + 1} did not fit into memory; continuing with {self.micro_batch} samples"
            f" at a time. A step still has {total}."
        )

    def _clear(self) -> None:
        for tensor in self._trained.values():
            tensor.grad = None

    def _any(self, value: bool) -> bool:
        """Whether it is true in any process."""
        if self._accelerator.num_processes == 1:
            return value
        flag = torch.tensor(float(value), device=self._accelerator.device)
        return bool(self._accelerator.reduce(flag) > 0)

    def _sum_gradients(self) -> None:
        """Sum the gradients over all processes, in one message."""
        tensors = list(self._trained.values())
        parts = [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]
        summed = self._accelerator.reduce(torch.cat([part.reshape(-1) for part in parts]))
        for tensor, part in zip(tensors, summed.split([p.numel() for p in parts]), strict=True):
            tensor.grad = part.view_as(tensor).clone()
