"""Worlds of real processes over gloo: the pieces of a sum, whatever its length."""

from pathlib import Path

import torch
from process_world import CPU, random_gradients, run_processes, save_mean

from synthray.training.reduction import ExactSum
from synthray.training.world import World

NUM_WORKERS = 3


def test_the_mean_over_processes_is_that_of_one_for_lengths_that_do_not_divide(tmp_path: Path) -> None:
    lengths = [1, 2, 3, 1000, 5_000_001]
    run_processes(NUM_WORKERS, save_mean, lengths, tmp_path)
    for length in lengths:
        alone = ExactSum(length, CPU, NUM_WORKERS)
        for rank in range(NUM_WORKERS):
            alone.add(random_gradients(rank, length), 1.0)
        expected = torch.empty(length)
        alone.mean_over_workers(World(0, 1, CPU), expected, 7)
        for rank in range(NUM_WORKERS):
            assert torch.equal(torch.load(tmp_path / f"{rank}-{length}"), expected)
