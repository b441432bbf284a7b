"""Machines that round differently never share an exact sum, and a run that moved to others says so."""

from synthray.training.fingerprints import WorkerMachine, describe_change, describe_mixture

OLD = {"device": "Quadro RTX 6000", "driver": "570.86", "torch": "2.15.0"}
NEW = {**OLD, "driver": "580.65"}


def test_equal_fingerprints_are_no_mixture() -> None:
    assert describe_mixture([WorkerMachine(0, "a", OLD), WorkerMachine(1, "b", dict(OLD))]) == ""


def test_a_mixture_names_fields_values_workers_and_nodes() -> None:
    machines = [
        WorkerMachine(0, "node-a", OLD),
        WorkerMachine(1, "node-b", NEW),
        WorkerMachine(2, "node-a", OLD),
    ]
    assert describe_mixture(machines) == (
        "driver is 570.86 (worker 0 on node-a, worker 2 on node-a) and 580.65 (worker 1 on node-b)"
    )


def test_a_field_that_only_one_fingerprint_has_differs() -> None:
    machines = [WorkerMachine(0, "a", OLD), WorkerMachine(1, "b", {**OLD, "cudnn": "91002"})]
    assert describe_mixture(machines) == "cudnn is unknown (worker 0 on a) and 91002 (worker 1 on b)"


def test_a_change_names_what_was_and_what_is() -> None:
    assert describe_change(OLD, dict(OLD)) == ""
    assert describe_change(OLD, NEW) == "driver was 570.86 and is 580.65"
    assert describe_change({}, {"torch": "2.15.0"}) == "torch was unknown and is 2.15.0"
