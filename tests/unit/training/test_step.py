"""One step, shared by threads as workers: equal bits whoever computes what, and one decision for all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import ThreadWorld, run_workers, write_tiny_run
from torch import Tensor, nn

from synthray.diffusion.schedule import build_schedule
from synthray.errors import Reason, RunFailed
from synthray.training.batches import TrainingBatch
from synthray.training.ledger import Ledger
from synthray.training.plan import BatchPlan
from synthray.training.precision import LossScale
from synthray.training.settings import RunSettings
from synthray.training.state import TrainingState
from synthray.training.step import StepEngine, StepResult, configure_determinism

MICRO_BATCH_SIZE, SIZE_PX, NUM_TIMESTEPS = 2, 8, 1000
SCHEDULE = build_schedule("shifted_cosine", SIZE_PX, zero_terminal_snr=True)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
    ),
]


class Net(nn.Module):
    """A network that is called as a UNet2DModel is."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.last = nn.Conv2d(1, 5, 3, padding=1), nn.Conv2d(5, 1, 3, padding=1)
        self.before = before
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 4

    def forward(self, noisy: Tensor, timesteps: Tensor, return_dict: bool) -> tuple[Tensor]:  # noqa: ARG002
        self.before()
        bias = timesteps.float().mul(1e-3).view(-1, 1, 1, 1)
        return (self.last(nn.functional.silu(self.first(noisy) + bias)),)


@pytest.fixture(scope="module")
def run_settings(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    return write_tiny_run(tmp_path_factory.mktemp("run"), "run", "/nowhere").settings()


def make_batches(num_images: int, seed: int) -> list[TrainingBatch]:
    """A global batch of `num_images` in micro-batches, the last of them padded."""
    generator = torch.Generator().manual_seed(seed)
    return [
        TrainingBatch(
            torch.rand(MICRO_BATCH_SIZE, 1, SIZE_PX, SIZE_PX, generator=generator) * 2 - 1,
            torch.randn(MICRO_BATCH_SIZE, 1, SIZE_PX, SIZE_PX, generator=generator),
            torch.randint(0, NUM_TIMESTEPS, (MICRO_BATCH_SIZE,), generator=generator),
            (torch.arange(start, start + MICRO_BATCH_SIZE) < num_images).float(),
            tuple(range(start, min(start + MICRO_BATCH_SIZE, num_images))),
            (),
        )
        for start in range(0, num_images, MICRO_BATCH_SIZE)
    ]


@dataclass(frozen=True)
class Outcome:
    """What a worker holds after a step."""

    result: StepResult
    state: TrainingState

    def bits(self) -> tuple[object, ...]:
        state = self.state
        tensors = (
            state.flat.values,
            state.flat.gradients,
            state.ema,
            state.first_moment,
            state.second_moment,
        )
        return (
            repr(self.result),  # NaN, for a bucket without images, equals itself here
            *(tensor.cpu().numpy().tobytes() for tensor in tensors),
            state.loss_scale,
            state.images_seen,
            state.step,
        )


def take_step(
    settings: RunSettings,
    shares: Sequence[Sequence[TrainingBatch]],
    *,
    scale: LossScale = LossScale(),  # noqa: B008 frozen
    device: str = "cpu",
    make_net: Callable[[int], Net] = lambda _: Net(),
    world: type[ThreadWorld] = ThreadWorld,
) -> list[Outcome]:
    """One step with a worker for each share."""
    num_images = sum(len(batch.positions) for share in shares for batch in share)
    plan = BatchPlan(num_images, 1, 16, MICRO_BATCH_SIZE)

    def work(world: ThreadWorld) -> Outcome:
        # As a segment does: else a thread's first convolution has another number of threads than its next.
        configure_determinism(world.device, settings.threads)
        module = make_net(world.rank).to(world.device)
        state = TrainingState(module, settings.optimizer, scale, Ledger(0.0, 0.0))
        engine = StepEngine(
            module=module, state=state, schedule=SCHEDULE, settings=settings, plan=plan, world=world
        )
        return Outcome(engine.run(shares[world.rank]), state)

    return run_workers(len(shares), work, device=torch.device(device), world=world)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_partition_in_any_order_over_any_workers_gives_the_same_bits(
    run_settings: RunSettings, device: str, data: st.DataObject
) -> None:
    batches = make_batches(data.draw(st.integers(1, 16)), data.draw(st.integers(0, 99)))
    half = data.draw(st.booleans())
    chosen = replace(run_settings, precision="fp16" if half else "fp32")
    scale = LossScale(2.0 ** data.draw(st.integers(8, 24)), 0, dynamic=True) if half else LossScale()
    order = data.draw(st.permutations(batches))
    owners = data.draw(st.lists(st.integers(0, 4), min_size=len(batches), max_size=len(batches)))
    num_workers = data.draw(st.integers(max(owners) + 1, 5))
    shares = [
        [batch for batch, owner in zip(order, owners, strict=True) if owner == rank]
        for rank in range(num_workers)
    ]
    (alone,) = take_step(chosen, [batches], scale=scale, device=device)
    for worker in take_step(chosen, shares, scale=scale, device=device):
        assert worker.bits() == alone.bits()


def test_an_overflow_on_one_worker_is_repeated_at_half_the_scale_by_all(run_settings: RunSettings) -> None:
    chosen = replace(run_settings, precision="fp16")
    calm, wild = make_batches(4, seed=1)
    wild.images.mul_(100)
    scale = LossScale(2.0**13, 0, dynamic=True)
    (alone,) = take_step(chosen, [[calm]], scale=scale)
    assert alone.result.overflows == 0
    workers = take_step(chosen, [[calm], [wild], []], scale=scale)
    assert workers[0].result.overflows > 0
    assert workers[0].state.loss_scale.scale == scale.scale / 2 ** workers[0].result.overflows
    assert len({worker.bits() for worker in workers}) == 1


def test_gradients_that_nobody_can_use_are_not_exchanged(run_settings: RunSettings) -> None:
    exchanges: list[int] = []

    class CountingWorld(ThreadWorld):
        def sum_piece(self, tensor: Tensor, scratch: Tensor) -> Tensor:
            exchanges.append(self.rank)
            return super().sum_piece(tensor, scratch)

    chosen = replace(run_settings, precision="fp16")
    scale = LossScale(2.0**24, 0, dynamic=True)
    shares = [[batch] for batch in make_batches(4, seed=1)]
    outcome = take_step(chosen, shares, scale=scale, world=CountingWorld)[0]
    assert outcome.result.overflows > 0
    assert sorted(exchanges) == [0, 1]


def test_a_loss_that_stays_infinite_fails_on_every_worker_with_its_positions(
    run_settings: RunSettings,
) -> None:
    batches = make_batches(6, seed=2)
    batches[1].images[0, 0, 0, 0] = torch.inf
    with pytest.raises(RunFailed, match=r"loss of step 0 .* twice .* stream positions \[2, 3\]") as failed:
        take_step(run_settings, [batches[:1], batches[1:]])
    assert failed.value.reason is Reason.NON_FINITE_LOSS


@pytest.mark.parametrize("ask_too_much", [lambda: torch.empty(2**50), lambda: bytearray(2**60)])
def test_out_of_memory_names_the_micro_batch_size(
    run_settings: RunSettings, ask_too_much: Callable[[], object]
) -> None:
    def demand() -> None:
        ask_too_much()

    with pytest.raises(
        RunFailed,
        match=r"^worker 1 in step 0 ran out of memory with spec\.optimization\.microBatchSize=2; use",
    ) as failed:
        take_step(
            run_settings,
            [[batch] for batch in make_batches(4, seed=3)],
            make_net=lambda rank: Net(demand if rank == 1 else lambda: None),
        )
    assert failed.value.reason is Reason.OUT_OF_MEMORY


def test_other_errors_stay_what_they_are(run_settings: RunSettings) -> None:
    def misshape() -> None:
        torch.ones(2) @ torch.ones(3)

    with pytest.raises(RuntimeError, match="inconsistent tensor size") as failed:
        take_step(run_settings, [make_batches(2, seed=3)], make_net=lambda _: Net(misshape))
    assert not isinstance(failed.value, RunFailed)
