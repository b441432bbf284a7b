"""Where a run can start: on other weights, under torchrun; and how it ends when numbers go wrong."""

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from tiny_run import CPU, TinyRun, train
from torch import Tensor

from synthray.data.order import SampleRef
from synthray.data.stream import read_micro_batch
from synthray.errors import InvalidInput, Reason, RunFailed
from synthray.training.batches import TrainingBatch, make_training_batch
from synthray.training.preflight import check_run, start_attempt
from synthray.training.segment import Segment, open_segment
from synthray.training.world import World

NewRun = Callable[..., TinyRun]


@contextmanager
def first_segment(run: TinyRun, *changes: str) -> Iterator[Segment]:
    """The first attempt of a run, ready for its first step, alone."""
    settings = run.settings(*changes)
    attempt = start_attempt(check_run(settings, adopt=False), None, images_reached=None, cause=None)
    with open_segment(settings, attempt, World(0, 1, CPU)) as segment:
        yield segment


def first_batches(segment: Segment) -> list[TrainingBatch]:
    """The micro-batches of the first step."""
    size = segment.plan.micro_batch_size
    refs: list[list[SampleRef]] = [
        [segment.order.at(position) for position in range(start, start + size)]
        for start in range(0, segment.plan.global_batch_size, size)
    ]
    return [
        make_training_batch(
            read_micro_batch(segment.reader, chunk, order=segment.order), segment.noise_source
        )
        for chunk in refs
    ]


@pytest.mark.timeout(180)
def test_torchrun_ends_with_the_bits_of_one_process(new_run: NewRun) -> None:
    alone, launched = new_run("alone"), new_run("launched")
    train(alone)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    module = ["-m", "synthray.training.standalone", str(launched.file), "--cache", str(launched.cache)]
    subprocess.run([*command, *module], check=True, capture_output=True, timeout=170)
    assert launched.digests() == alone.digests()


@pytest.mark.timeout(180)
def test_the_loop_alone_stops_at_a_signal_and_finishes_what_is_complete_once(new_run: NewRun) -> None:
    alone, stopped = new_run("alone"), new_run("stopped")
    longer = "spec.optimization.epochs=12"
    train(alone, longer)
    module = [sys.executable, "-m", "synthray.training.standalone"]
    command = [*module, str(stopped.file), "--cache", str(stopped.cache), "--set", longer]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("step 3," in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 130
    reached = stopped.checkpoints().list_states()[-1].images_seen
    assert reached >= 3 * 14
    assert train(stopped, longer, num_workers=2) == "complete"
    assert stopped.digests() == alone.digests()
    states = [state.name for state in stopped.checkpoints().list_states()]
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "tiny is complete; raise spec.optimization.epochs to train on" in again.stderr
    assert [state.name for state in stopped.checkpoints().list_states()] == states
    assert train(stopped, longer) == "complete"


def test_init_from_starts_with_the_moving_average_of_a_runs_model(new_run: NewRun) -> None:
    teacher = new_run("teacher")
    train(teacher)
    with first_segment(new_run("pupil"), f"spec.model.initFrom={teacher.checkpoints_uri}") as segment:
        checkpoints = teacher.checkpoints()
        ema = checkpoints.load_tensors(checkpoints.list_states()[-1], "ema.safetensors")
        for name, tensor in segment.state.tensors()["weights"].items():
            assert torch.equal(tensor, torch.from_numpy(ema[name]))
        assert torch.equal(segment.state.ema, segment.state.flat.values)


def test_init_from_a_network_of_another_shape_is_refused_with_the_field(new_run: NewRun) -> None:
    teacher = new_run("teacher")
    train(teacher, "spec.optimization.epochs=1")
    changes = (f"spec.model.initFrom={teacher.checkpoints_uri}", "spec.model.blockOutChannels=[8, 16]")
    with (
        pytest.raises(InvalidInput, match=r"spec\.model\.initFrom=.* is no network of spec.model's shape"),
        first_segment(new_run("pupil"), *changes),
    ):
        pass


def test_a_loss_that_is_not_finite_twice_ends_the_run_before_the_weights_move(new_run: NewRun) -> None:
    with first_segment(new_run("run")) as segment:
        batches = first_batches(segment)
        batches[1].images[0] = float("nan")
        before = segment.state.flat.values.clone()
        with pytest.raises(RunFailed) as failed:
            segment.engine.run(batches)
        assert failed.value.reason is Reason.NON_FINITE_LOSS
        assert "step 0" in failed.value.message
        assert f"stream positions {list(batches[1].positions)};" in failed.value.message
        assert torch.equal(segment.state.flat.values, before)
        assert segment.state.step == 0


def test_a_loss_that_is_finite_when_computed_again_is_a_hardware_fault_and_changes_nothing(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with first_segment(new_run("good")) as segment:
        segment.engine.run(first_batches(segment))
        expected = segment.state.flat.values.clone()
    with first_segment(new_run("faulty")) as segment:
        compute, calls = segment.engine.losses, []

        def fail_once(batch: TrainingBatch) -> Tensor:
            calls.append(batch)
            return compute(batch) * (float("nan") if len(calls) == 1 else 1.0)

        monkeypatch.setattr(segment.engine, "losses", fail_once)
        result = segment.engine.run(first_batches(segment))
        assert result.hardware_fault
        assert torch.equal(segment.state.flat.values, expected)


def test_an_overflow_repeats_the_batch_at_half_the_scale_and_counts_once(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with first_segment(new_run("run")) as segment:
        segment.state.loss_scale = dataclasses.replace(segment.state.loss_scale, scale=8.0, dynamic=True)
        add, calls = segment.engine._sum.add, []

        def overflow_once(gradients: Tensor, loss_scale: float) -> None:
            calls.append(loss_scale)
            add(gradients.fill_(float("inf")) if len(calls) == 1 else gradients, loss_scale)

        monkeypatch.setattr(segment.engine._sum, "add", overflow_once)
        result = segment.engine.run(first_batches(segment))
        assert result.overflows == 1
        assert segment.state.loss_scale.scale == 4.0
        assert segment.state.images_seen == 14


def test_adopting_states_of_another_network_or_batch_is_refused_with_the_fields(new_run: NewRun) -> None:
    run = new_run("run")
    train(run, "spec.optimization.epochs=1")
    with pytest.raises(InvalidInput) as refused:
        check_run(run.settings("spec.optimization.globalBatchSize=16", "spec.seed=5"), adopt=True)
    assert refused.value.message == (
        f"--adopt can't go on from the states in {run.checkpoints_uri}: "
        "spec.optimization.globalBatchSize is 14 there and 16 here. Give these fields those values, "
        "or begin another run with spec.model.initFrom"
    )


def test_a_prefix_of_another_run_is_refused_unless_it_is_adopted(new_run: NewRun) -> None:
    run = new_run("run")
    train(run, "spec.optimization.epochs=1")
    with pytest.raises(InvalidInput, match=r"--adopt to go on from them all the same"):
        check_run(run.settings("spec.seed=5"), adopt=False)
    check_run(run.settings("spec.seed=5"), adopt=True)
