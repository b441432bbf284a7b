"""Damage of one byte or one object is always detected, never loaded, and never thrown away.

`python tests/support/mutations.py` makes 2,000 of them and prints what docs/benchmarks/mutations.md shows.
"""

import pytest
from mutations import CHANGES, FORGERIES, build_runs, judge, mutate

NUM_OF_EACH_KIND = 20


@pytest.fixture(scope="module")
def runs() -> dict[str, bytes]:
    return build_runs()


@pytest.mark.parametrize("number", range(len(CHANGES)), ids=lambda number: list(CHANGES)[number])
def test_every_mutation_is_told_and_the_newest_good_state_is_used(
    runs: dict[str, bytes], number: int
) -> None:
    for seed in range(number, number + NUM_OF_EACH_KIND * len(CHANGES), len(CHANGES)):
        mutation = mutate(runs, seed)
        verdict = judge(mutation)
        assert verdict.seen_by, f"seed {seed}: {mutation.kind}: {mutation.keys} was not detected"
        assert verdict.newest_good, f"seed {seed}: {mutation.kind}: {mutation.keys} cost a good state"
        assert verdict.kept is not False, f"seed {seed}: {mutation.kind}: {mutation.keys} was deleted"


def test_forged_manifests_may_pass_and_bring_no_wrong_tensors(runs: dict[str, bytes]) -> None:
    """Who can write to the store and seals anew can change what a manifest says beside its parts."""
    verdicts = [judge(mutate(runs, seed, FORGERIES)) for seed in range(20)]
    assert any(verdict.seen_by for verdict in verdicts)
    assert all(verdict.newest_good for verdict in verdicts)
