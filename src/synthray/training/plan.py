"""What a run will compute, decided before it computes anything.

Steps, their positions in the endless stream of samples, the epochs' save points and the shares of the
workers are pure functions of the spec and the dataset's size, so that every attempt, with any number of
workers, walks the same path. Nothing here may look at the world: no torch, no clock, no store.
"""

from dataclasses import dataclass

from synthray.errors import InvalidInput


@dataclass(frozen=True)
class BatchPlan:
    """The run's path: `epochs` passes over `num_samples`, in global batches cut into micro-batches."""

    num_samples: int
    epochs: int
    global_batch_size: int
    micro_batch_size: int

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise InvalidInput(
                "the dataset has no training samples; prepare it with more images or a smaller --holdout"
            )

    @property
    def images_total(self) -> int:
        """Images seen when the run is complete."""
        return self.num_samples * self.epochs

    @property
    def num_micro_batches(self) -> int:
        """Micro-batches of a full global batch: the most workers that can share it."""
        return self.global_batch_size // self.micro_batch_size

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return -(-self.images_total // self.global_batch_size)

    def positions(self, step: int) -> range:
        """Stream positions of the global batch of `step` (from 0); only the run's last batch can be short."""
        start = step * self.global_batch_size
        return range(start, min(start + self.global_batch_size, self.images_total))

    def images_after(self, step: int) -> int:
        """Images seen once `step` is done."""
        return self.positions(step).stop

    def epochs_done(self, images_seen: int) -> int:
        """Whole epochs within `images_seen` images."""
        return images_seen // self.num_samples

    def ends_epoch(self, step: int) -> bool:
        """Whether `step` is the first at or past the end of an epoch: where the epoch's model is saved."""
        return self.epochs_done(self.images_after(step)) > self.epochs_done(self.positions(step).start)

    def precedes_short_batch(self, step: int) -> bool:
        """Whether the next batch is short: the last point from which a run with more epochs can go on."""
        return step + 2 == self.num_steps and len(self.positions(step + 1)) < self.global_batch_size

    def resumable(self, images_seen: int) -> bool:
        """Whether this run can go on from `images_seen`: a whole batch, or this very run's end."""
        if images_seen > self.images_total:
            return False
        return images_seen % self.global_batch_size == 0 or images_seen == self.images_total


def plan_micro_batches(positions: range, micro_batch_size: int) -> tuple[range, ...]:
    """Cut a global batch into micro-batches of consecutive positions; only the last can be short."""
    return tuple(
        positions[start : start + micro_batch_size] for start in range(0, len(positions), micro_batch_size)
    )


def plan_share(num_micro_batches: int, num_workers: int, rank: int) -> range:
    """The micro-batches that worker `rank` computes: consecutive ones, evenly shared give or take one."""
    return range(num_micro_batches * rank // num_workers, num_micro_batches * (rank + 1) // num_workers)
