"""A dozen faults against a real run: the result is that of a run left alone.

Two workers killed one by one, all at once, hung, paused or told to leave, everything killed, two drivers at
once, other numbers of workers, connections reset; without Ray, so that it takes two or three minutes. Longer
campaigns, and those through Ray: `make chaos`.
"""

from pathlib import Path

import pytest

from .campaign import Limits, open_campaign
from .configuration import PROCESSES, Configuration, prepare_dataset
from .faults import Kind
from .results import count_faults

NUM_FAULTS = 12


@pytest.mark.timeout(1200)
def test_a_dozen_faults_change_nothing(tmp_path: Path) -> None:
    configuration = Configuration(PROCESSES, epochs=8, hang_after_seconds=5)
    limits = Limits(
        seed=2317,
        seconds=3600,
        num_faults=NUM_FAULTS,
        faults_per_run=NUM_FAULTS,
        seconds_between_faults=None,
        only_seed=None,
        kinds=frozenset(Kind),
    )
    dataset_uri = prepare_dataset(tmp_path)
    with open_campaign(tmp_path, configuration, limits, dataset_uri) as campaign:
        result = next(campaign.play())
    assert result.problems == ()
    # On a slow machine recoveries overlap with the next fault, which then finds nothing to hit.
    assert count_faults([result]) >= NUM_FAULTS * 2 // 3
    assert campaign.results() == [result]
