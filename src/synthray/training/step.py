"""One optimizer step over one global batch, shared by any number of workers.

Each worker computes its micro-batches; sums of gradients and losses are reduced; then every worker, holding
the same numbers, takes the same decision: update, repeat at half the loss scale, or fail. Nothing here saves,
reads a store or looks at a clock.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.utils.deterministic
from torch import Tensor, nn

from synthray.diffusion.determinism import PINNED, set_switches
from synthray.diffusion.ema import ema_decay
from synthray.diffusion.objective import add_noise, loss_per_sample
from synthray.diffusion.schedule import NoiseSchedule
from synthray.errors import Reason, RunFailed
from synthray.training.batches import TrainingBatch
from synthray.training.out_of_memory import naming_the_micro_batch
from synthray.training.plan import BatchPlan
from synthray.training.precision import after_good_step, after_overflow
from synthray.training.reduction import build_gradient_sum
from synthray.training.settings import RunSettings
from synthray.training.state import TrainingState
from synthray.training.tally import StepTally, is_sound
from synthray.training.world import World


@dataclass(frozen=True)
class StepResult:
    """What a step came to; equal on every worker."""

    loss: float
    loss_by_bucket: tuple[float, ...]
    gradient_norm: float
    learning_rate: float
    overflows: int
    hardware_fault: bool

    @property
    def recomputed(self) -> int:
        """How often the step was computed again before it was accepted."""
        return self.overflows + int(self.hardware_fault)


class StepEngine:
    """Computes steps on one device; holds no state of the run but what `state` names."""

    def __init__(
        self,
        *,
        module: nn.Module,
        state: TrainingState,
        schedule: NoiseSchedule,
        settings: RunSettings,
        plan: BatchPlan,
        world: World,
    ) -> None:
        self._module = module
        self._state = state
        self._schedule = schedule
        self._settings = settings
        self._plan = plan
        self._world = world
        self._device = state.ema.device
        self._sum = build_gradient_sum(
            settings.reduction, len(state.ema), self._device, plan.num_micro_batches
        )

    def run(self, batches: Sequence[TrainingBatch]) -> StepResult:
        """Compute, agree and update.

        Raises RunFailed if a loss or gradient is not finite twice with the same inputs, or if there is no
        memory for a micro-batch.
        """
        where = f"worker {self._world.rank} in step {self._state.step}"
        with naming_the_micro_batch(where, self._plan.micro_batch_size):
            return self._run(batches)

    def _run(self, batches: Sequence[TrainingBatch]) -> StepResult:
        overflows, replayed = 0, False
        while True:
            tally = self._compute(batches)
            if not tally.nonfinite and not tally.out_of_range:
                break
            if not tally.nonfinite and not self._state.loss_scale.exhausted:
                self._state.loss_scale = after_overflow(self._state.loss_scale)
                overflows += 1
                continue
            if replayed:
                self._fail(tally, batches)
            replayed = True
        return self._update(tally, overflows=overflows, hardware_fault=replayed)

    def _compute(self, batches: Sequence[TrainingBatch]) -> StepTally:
        """This worker's gradients, left in the sum, and the losses and flags of all workers.

        The flags travel first: gradients that nobody can use are not exchanged.
        """
        self._sum.reset()
        tally = StepTally()
        for batch in batches:
            losses = self.losses(batch)
            weights = batch.weights.to(self._device)
            self._state.flat.gradients.zero_()
            ((losses * weights).sum() * self._state.loss_scale.scale).backward()  # type: ignore[no-untyped-call]
            self._sum.add(self._state.flat.gradients, self._state.loss_scale.scale)
            tally.add_losses(
                losses.detach().cpu(), batch.weights, batch.timesteps, self._schedule.num_timesteps
            )
        tally.flag_out_of_range(bool(self._sum.out_of_range))
        self._world.add_over_workers(tally.vector)
        return tally

    def losses(self, batch: TrainingBatch) -> Tensor:
        """Per-sample losses (N,) fp32; only the network runs in the run's precision."""
        images = batch.images.to(self._device, non_blocking=True)
        noise = batch.noise.to(self._device, non_blocking=True)
        timesteps = batch.timesteps.to(self._device, non_blocking=True)
        noisy = add_noise(self._schedule, images, noise, timesteps)
        half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self._settings.precision)
        with torch.autocast(self._device.type, dtype=half, enabled=half is not None):
            output = self._module(noisy, timesteps, return_dict=False)[0]
        diffusion = self._settings.diffusion
        return loss_per_sample(
            self._schedule,
            diffusion.prediction_type,
            output.float(),
            images,
            noise,
            timesteps,
            min_snr_gamma=diffusion.min_snr_gamma,
        )

    def _update(self, tally: StepTally, *, overflows: int, hardware_fault: bool) -> StepResult:
        """Clip the mean gradient, step the optimizer, move the average and the counters."""
        state, optimizer = self._state, self._settings.optimizer
        batch_images = len(self._plan.positions(state.step))
        self._sum.mean_over_workers(self._world, state.flat.gradients, batch_images)
        # The whole vector on every worker, so that the norm's rounding knows nothing of their number.
        norm = torch.linalg.vector_norm(state.flat.gradients)
        state.flat.gradients.mul_(torch.clamp(optimizer.gradient_clip_norm / (norm + 1e-6), max=1.0))
        learning_rate = optimizer.learning_rate.at(state.images_seen)
        state.update(learning_rate)
        state.images_seen += batch_images
        decay = ema_decay(
            batch_images,
            state.images_seen,
            halflife_images=optimizer.ema_halflife_images,
            rampup_ratio=optimizer.ema_rampup_ratio,
        )
        state.ema.lerp_(state.flat.values, 1.0 - decay)
        state.loss_scale = after_good_step(state.loss_scale)
        return StepResult(
            loss=tally.loss,
            loss_by_bucket=tally.loss_by_bucket,
            gradient_norm=float(norm),
            learning_rate=learning_rate,
            overflows=overflows,
            hardware_fault=hardware_fault,
        )

    def _fail(self, tally: StepTally, batches: Sequence[TrainingBatch]) -> None:
        """Raise with the step and the samples; every worker takes part."""
        with torch.no_grad():
            positions = [batch.positions for batch in batches if not is_sound(self.losses(batch)).all()]
        shares = self._world.gather_objects(positions)
        found = sorted(position for share in shares for batch in share for position in batch)
        where = f"step {self._state.step} (images {self._state.images_seen} on)"
        if tally.nonfinite:
            raise RunFailed(
                f"the loss of {where} is not finite, twice with the same inputs; stream positions {found}; "
                "use a smaller spec.optimization.learningRate, or fp32, from an earlier state",
                reason=Reason.NON_FINITE_LOSS,
            )
        raise RunFailed(
            f"a gradient of {where} is not finite or out of the exact sum's range, twice with equal inputs; "
            "use a smaller spec.optimization.learningRate, or spec.reduction=statistical in a new run",
            reason=Reason.GRADIENT_OUT_OF_RANGE,
        )


def configure_determinism(device: torch.device, threads: int) -> None:
    """Pin everything that could change a bit between two runs on equal machines.

    On a GPU an operation without a deterministic algorithm raises. A warning would not do: with it the
    backward passes of flash and memory-efficient attention keep adding in any order. UNet2DModel needs no
    operation that raises (docs/decisions/0004-exact-reduction.md).
    """
    torch.set_num_threads(threads)
    set_switches(PINNED)
    if device.type == "cuda":
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts, in the first product
        torch.use_deterministic_algorithms(True)
        # Else every new tensor would be filled with NaN first: memory traffic that finds no error here.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
