"""Everything that one worker needs before the first step of a segment.

Opens the dataset, builds the network, and brings the state to where the attempt goes on from: the first
worker reads and verifies it, the others copy from the first, so that it is read once and all are equal.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from synthray.data.cache import NodeCache
from synthray.data.dataset import Dataset, read_dataset
from synthray.data.order import SampleOrder
from synthray.data.reader import SampleReader
from synthray.diffusion.schedule import NoiseSchedule, build_schedule
from synthray.diffusion.unet import init_unet
from synthray.storage import ObjectStore, open_store
from synthray.training.batches import NoiseSource
from synthray.training.beginning import read_start
from synthray.training.bookkeeping import build_first_report
from synthray.training.control import UNATTENDED, RunControl
from synthray.training.fingerprints import agree_on_fingerprint, note_change
from synthray.training.ledger import AttemptStart, Ledger, after_start
from synthray.training.plan import BatchPlan
from synthray.training.precision import initial_loss_scale
from synthray.training.settings import AttemptSettings, RunSettings
from synthray.training.state import TrainingState
from synthray.training.step import StepEngine, configure_determinism
from synthray.training.waiting import SharedWait
from synthray.training.world import World


@dataclass(frozen=True)
class Segment:
    """One worker's part of a segment, ready to walk."""

    settings: RunSettings
    attempt: AttemptSettings
    world: World
    plan: BatchPlan
    order: SampleOrder
    dataset: Dataset
    reader: SampleReader
    holdout_reader: SampleReader
    store: ObjectStore
    module: UNet2DModel
    schedule: NoiseSchedule
    state: TrainingState
    engine: StepEngine
    noise_source: NoiseSource
    storage_wait_seconds: float
    """How long opening it waited for storage that was away."""

    @property
    def validation_source(self) -> NoiseSource:
        """Noise for held-out samples: fixed, and never augmented."""
        return replace(self.noise_source, horizontal_flip=False)

    @property
    def epoch_is_booked(self) -> bool:
        """Whether the state stands at the end of an epoch that is in its ledger: then its model is saved."""
        history = self.state.ledger.history
        return bool(history) and history[-1].images_seen == self.state.images_seen

    @contextmanager
    def showing(self, vector: Tensor) -> Iterator[None]:
        """Let the network compute with another flat vector, such as the moving average, for a while."""
        self.state.flat.show(vector)
        try:
            yield
        finally:
            self.state.flat.show(self.state.flat.values)


@contextmanager
def open_segment(
    settings: RunSettings, attempt: AttemptSettings, world: World, control: RunControl = UNATTENDED
) -> Iterator[Segment]:
    """Open the dataset, build the network and resume the state; closes readers at the end.

    Storage that is away is waited for. Raises StopAsked if somebody is asked to stop meanwhile.
    """
    configure_determinism(world.device, settings.threads)
    machine = agree_on_fingerprint(settings, world)

    def report(name: str) -> None:
        waited = wait.storage_wait_seconds
        control.report(build_first_report(world.rank, attempt.number, name, storage_wait_seconds=waited))

    wait = SharedWait(world, control, report)
    places = settings.storage
    dataset_store = open_store(places.dataset_uri, places.s3_of_workers)
    dataset = wait.for_storage(lambda: read_dataset(dataset_store))
    plan = build_plan(settings, dataset)
    cache = NodeCache(Path(places.cache_directory), places.cache_max_bytes)
    schedule = build_schedule(
        settings.diffusion.schedule,
        resolution_px=settings.architecture.resolution_px,
        zero_terminal_snr=settings.diffusion.zero_terminal_snr,
    )
    module = init_unet(settings.architecture, settings.seed).to(world.device).train()
    state = TrainingState(
        module,
        settings.optimizer,
        initial_loss_scale(settings.precision),
        Ledger(started=attempt.began, saved=attempt.began),
    )
    store = open_store(places.checkpoints_uri, places.s3_of_workers)
    if attempt.resumes_from is not None or settings.init_from:
        first = world.rank == 0
        before = wait.for_storage(lambda: read_start(state, settings, attempt, store) if first else None)
        if before is not None:
            note_change(state, before, machine)
        state.copy_from_first(world)
    start = AttemptStart(time.time(), attempt.number, world.size, attempt.redone_images, attempt.faults)
    state.ledger = after_start(state.ledger, state.images_seen, start)
    reader = SampleReader(dataset, dataset_store, cache, table=dataset.train)
    holdout_reader = SampleReader(dataset, dataset_store, cache, table=dataset.holdout)
    engine = StepEngine(
        module=module, state=state, schedule=schedule, settings=settings, plan=plan, world=world
    )
    noise_source = NoiseSource(
        settings.seed, schedule.num_timesteps, settings.horizontal_flip, settings.micro_batch_size
    )
    reader.start_fill()
    try:
        yield Segment(
            settings=settings,
            attempt=attempt,
            world=world,
            plan=plan,
            order=SampleOrder(settings.seed, len(dataset.train)),
            dataset=dataset,
            reader=reader,
            holdout_reader=holdout_reader,
            store=store,
            module=module,
            schedule=schedule,
            state=state,
            engine=engine,
            noise_source=noise_source,
            storage_wait_seconds=wait.storage_wait_seconds,
        )
    finally:
        reader.close()
        holdout_reader.close()


def build_plan(settings: RunSettings, dataset: Dataset) -> BatchPlan:
    """The run's path over this dataset."""
    return BatchPlan(
        num_samples=len(dataset.train),
        epochs=settings.epochs,
        global_batch_size=settings.global_batch_size,
        micro_batch_size=settings.micro_batch_size,
    )
