from collections import Counter
from pathlib import Path

import pytest
import torch
from committed_run import CommittedRun
from hypothesis import given, settings
from hypothesis import strategies as st

from synthray.checkpoints.store import CheckpointStore
from synthray.diffusion.schedule import build_schedule
from synthray.errors import Unavailable
from synthray.generation.models import load_model
from synthray.generation.previews import PreviewShare, plan_preview_shares, render_previews
from synthray.generation.receipts import PreviewOrigin, Receipt, read_png
from synthray.generation.verify import read_evidence, verify_images
from synthray.storage.local import LocalStore

STEPS = 2


@settings(deadline=None)
@given(st.lists(st.integers(0, 99), unique=True, max_size=40), st.integers(1, 9))
def test_every_seed_is_drawn_once_with_each_weights(seeds: list[int], num_workers: int) -> None:
    shares = [plan_preview_shares(seeds, num_workers, rank) for rank in range(num_workers)]
    assert Counter(seed for share in shares for seed in share.ema) == Counter(seeds)
    assert Counter(seed for share in shares for seed in share.raw) == Counter(seeds)


@settings(deadline=None)
@given(st.integers(0, 64), st.integers(1, 9))
def test_no_worker_draws_more_than_one_batch_more_than_another(num_seeds: int, num_workers: int) -> None:
    shares = [plan_preview_shares(range(num_seeds), num_workers, rank) for rank in range(num_workers)]
    batches = [-(-len(share.ema) // 4) + -(-len(share.raw) // 4) for share in shares]
    assert max(batches) - min(batches) <= 1


def test_whole_batches_go_to_the_workers_in_turn() -> None:
    assert plan_preview_shares([1, 2, 3, 4], 2, 0) == PreviewShare(ema=(1, 2, 3, 4), raw=())
    assert plan_preview_shares([1, 2, 3, 4], 2, 1) == PreviewShare(ema=(), raw=(1, 2, 3, 4))
    assert plan_preview_shares([1, 2, 3, 4, 5], 3, 0) == PreviewShare(ema=(1, 2, 3, 4), raw=(5,))


def origin(weights: str) -> PreviewOrigin:
    return PreviewOrigin.model_validate({"run": "tiny", "images_seen": 100, "epoch": 1, "weights": weights})


def render(run: CommittedRun, weights: str, name: str, seeds: list[int]) -> list[str]:
    return render_previews(
        run.unet(100, weights).train(),
        run.schedule,
        run.prediction_type,
        store=run.store,
        checkpoint_uri=f"{run.store.uri}/{'models' if weights == 'ema' else 'states'}/{name}",
        origin=origin(weights),
        seeds=seeds,
        steps=STEPS,
    )


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_previews_lie_where_the_gallery_looks_and_verify_against_the_checkpoint(
    run: CommittedRun, weights: str
) -> None:
    name = run.commit(100)
    keys = render(run, weights, name, [3, 1])
    assert keys == [f"previews/000000000100/{weights}/{seed}.png" for seed in (3, 1)]
    images = [read_evidence(run.store.read(key), key) for key in keys]
    assert [image.receipt.preview for image in images] == [origin(weights)] * 2
    verdicts = list(verify_images(images, lambda uri: load_model(uri, run.settings)))
    assert [verdict.differences for verdict in verdicts] == [(), ()]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "shifted_cosine"])
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_a_preview_is_of_the_very_model_that_readers_load(
    run: CommittedRun, schedule: str, zero_terminal_snr: bool
) -> None:
    # Readers have the schedule from JSON, some as betas, which must not round.
    run.schedule = build_schedule(schedule, 16, zero_terminal_snr)
    name = run.commit(100)
    [key] = render(run, "ema", name, [1])
    receipt = read_png(run.store.read(key))[1]
    assert receipt.architecture_digest == load_model(run.store.uri, run.settings).identity.architecture_digest


def test_the_receipt_names_the_digests_of_the_manifest(run: CommittedRun) -> None:
    name = run.commit(100)
    state = CheckpointStore(run.store).list_states()[-1]
    for weights, digest in (("ema", state.ema_sha256), ("raw", state.weights_sha256)):
        [key] = render(run, weights, name, [1])
        twin = Receipt.model_validate_json(run.store.read(key.replace(".png", ".json")))
        assert twin == read_png(run.store.read(key))[1]
        assert twin.model_digest == digest


def test_workers_write_what_one_worker_writes(run: CommittedRun) -> None:
    seeds = [1, 2, 3, 4, 5, 6]
    [one] = [render(run, "ema", "a", seeds)]
    alone = {key: run.store.read(key) for key in one}
    for rank in range(3):
        render(run, "ema", "a", list(plan_preview_shares(seeds, 3, rank).ema))
    assert {key: run.store.read(key) for key in one} == alone


def test_a_worker_without_a_share_draws_nothing(run: CommittedRun) -> None:
    assert render(run, "ema", "a", []) == []


def test_the_networks_mode_and_torchs_generator_are_left_alone(run: CommittedRun) -> None:
    unet = run.unet(100, "ema").train()
    before = torch.random.get_rng_state()
    render_previews(
        unet,
        run.schedule,
        run.prediction_type,
        store=run.store,
        checkpoint_uri="a",
        origin=origin("ema"),
        seeds=[1],
        steps=STEPS,
    )
    assert unet.training
    assert torch.equal(torch.random.get_rng_state(), before)


class AwayStore(LocalStore):
    """A folder to which nothing can be written for now."""

    writes = 0

    def write(self, key: str, data: object) -> None:  # noqa: ARG002
        self.writes += 1
        raise Unavailable("the store is away")


def test_a_store_that_is_away_costs_pictures_and_never_the_run(
    run: CommittedRun, caplog: pytest.LogCaptureFixture
) -> None:
    away = AwayStore(Path(run.store.uri))
    run.store = away
    assert render(run, "ema", "a", [1, 2]) == []
    assert away.writes == 1, "each further write would wait for the store's deadline again"
    assert "previews of epoch 1 are not complete: the store is away" in caplog.text


def test_an_answer_that_is_not_finite_costs_pictures_and_never_the_run(
    run: CommittedRun, caplog: pytest.LogCaptureFixture
) -> None:
    unet = run.unet(100, "ema")
    torch.nn.init.constant_(unet.conv_out.bias, float("nan"))
    keys = render_previews(
        unet,
        run.schedule,
        run.prediction_type,
        store=run.store,
        checkpoint_uri="a",
        origin=origin("ema"),
        seeds=[1],
        steps=STEPS,
    )
    assert keys == []
    assert "is not finite" in caplog.text
