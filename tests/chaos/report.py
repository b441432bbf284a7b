"""A campaign's report in Markdown, from its results alone. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import mean

from .configuration import Configuration
from .faults import MIX, WITHOUT_NOTICE, Kind
from .goodput import mean_cost_seconds, predict_goodput, redone_seconds
from .measure import find_percentile
from .results import FaultResult, RunResult, count_faults

_COLUMNS = (
    "fault",
    "times",
    "overlapped",
    "first step p50",
    "p95",
    "new images p50",
    "p95",
    "stall p95",
    "cost mean",
    "lost images p50",
    "most",
)
_LEGEND = (
    "Seconds from the fault. First step: of the next attempt; new images: the first beyond what had been "
    "seen before; stall: the longest time without a step; cost: training time that was lost. Faults that "
    "overlapped another one count in the verdict and in no time."
)
_MODEL = (
    "Useful step time over elapsed time, G(M) = g (1 - c / M): faults M seconds apart that cost c seconds on "
    "average over the stated mix, and the goodput g of the run that was left alone (Young 1974)."
)
_RATES_SECONDS = {"a fault per 10 minutes": 600.0, "per 30 minutes": 1800.0}
_INTERVALS_SECONDS = (10.0, 60.0, 600.0)


def build_report(
    configuration: Configuration,
    results: Sequence[RunResult],
    *,
    unbroken_ratio: float,
    left_out: Mapping[Kind, str],
    command: str,
    costs_from: Sequence[RunResult],
) -> str:
    """Verdict, recovery by kind, goodput by the costs of some runs, and how to repeat what failed."""
    return "\n".join(
        [
            "# Faults",
            "",
            *_describe_verdict(configuration, results),
            "",
            *_describe_kinds(results),
            "",
            *_describe_goodput(results, unbroken_ratio, costs_from),
            "",
            *_describe_left_out(left_out),
            *_describe_failures(results, command),
        ]
    )


def _describe_verdict(configuration: Configuration, results: Sequence[RunResult]) -> list[str]:
    good = sum(not result.problems for result in results)
    attempts = sum(int(result.ledger.get("attempts", 0)) for result in results)
    redone = sum(int(result.ledger.get("redone_images", 0)) for result in results)
    hours = sum(result.seconds for result in results) / 3600
    verdict = (
        f"{count_faults(results)} faults in {len(results)} runs through {configuration.through}, "
        f"{configuration.num_workers} workers, {configuration.epochs} epochs each, hangs noticed after "
        f"{configuration.hang_after_seconds:g} s. **{good} of {len(results)} runs ended with the digests of "
        "the unbroken run**, every sample counted once, nothing hung, no process left."
    )
    return [verdict, "", f"{attempts} attempts, {redone} images redone, {hours:.1f} hours."]


def _describe_kinds(results: Sequence[RunResult]) -> list[str]:
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|---{'|--:' * (len(_COLUMNS) - 1)}|"]
    faults = [fault for result in results for fault in result.faults if fault.heard]
    lines += [_describe_kind(kind, [f for f in faults if f.kind is kind]) for kind in Kind]
    return [*(line for line in lines if line), "", _LEGEND]


def _describe_kind(kind: Kind, faults: Sequence[FaultResult]) -> str:
    if not faults:
        return ""
    alone = [fault for fault in faults if not fault.overlapped]
    first_steps = [fault.first_step_seconds for fault in alone if fault.first_step_seconds is not None]
    caught_up = [fault.caught_up_seconds for fault in alone if fault.caught_up_seconds is not None]
    stalls = [fault.stall_seconds for fault in alone if fault.stall_seconds is not None]
    costs = [fault.cost_seconds for fault in alone if fault.cost_seconds is not None]
    lost = [float(fault.lost_images) for fault in alone if fault.lost_images is not None]
    cells = [
        str(kind),
        str(len(faults)),
        str(len(faults) - len(alone)),
        _show(find_percentile(first_steps, 0.5)),
        _show(find_percentile(first_steps, 0.95)),
        _show(find_percentile(caught_up, 0.5)),
        _show(find_percentile(caught_up, 0.95)),
        _show(find_percentile(stalls, 0.95)),
        _show(mean(costs) if costs else None),
        _show(find_percentile(lost, 0.5), digits=0),
        _show(max(lost, default=None), digits=0),
    ]
    return f"| {' | '.join(cells)} |"


def _show(value: float | None, *, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def mean_by_kind(
    results: Sequence[RunResult], measure: Callable[[RunResult, FaultResult], float | None]
) -> dict[Kind, float]:
    """The mean of a figure over the faults of each kind that have it."""
    found: dict[Kind, list[float]] = {}
    for result in results:
        for fault in result.faults:
            if (value := measure(result, fault)) is not None:
                found.setdefault(fault.kind, []).append(value)
    return {kind: mean(values) for kind, values in found.items()}


def measured_costs(results: Sequence[RunResult]) -> dict[Kind, float]:
    """Seconds of training that a fault of each kind took."""
    return mean_by_kind(results, lambda _, fault: fault.cost_seconds)


def _redone_seconds(result: RunResult, fault: FaultResult) -> float | None:
    if fault.lost_images is None or fault.cost_seconds is None or not result.images_per_second:
        return None
    return fault.lost_images / result.images_per_second


def _describe_goodput(
    results: Sequence[RunResult], unbroken_ratio: float, costs_from: Sequence[RunResult]
) -> list[str]:
    weights = {kind: trait.weight for kind, trait in MIX.items()}
    costs = measured_costs(costs_from)
    cost = mean_cost_seconds(costs, weights)
    redone = mean_cost_seconds(mean_by_kind(costs_from, _redone_seconds), weights)
    sudden = mean_cost_seconds({kind: float(kind in WITHOUT_NOTICE) for kind in costs}, weights)
    rows = [("as measured", cost)]
    rows += [
        (f"a save each {interval:g} s", cost - redone + sudden * redone_seconds(interval))
        for interval in _INTERVALS_SECONDS
    ]
    measured = (
        f"Measured: g = {unbroken_ratio:.3f}; c = {cost:.1f} s over {len(costs)} kinds, of which "
        f"{redone:.1f} s are work done again; {sudden:.0%} of the mix come without notice and redo half a "
        "save interval."
    )
    lines = ["## Goodput", "", _MODEL, "", measured, ""]
    lines += [f"| G(M) / g | {' | '.join(_RATES_SECONDS)} |", f"|---|{'--:|' * len(_RATES_SECONDS)}"]
    for name, seconds in rows:
        shares = [
            predict_goodput(unbroken_ratio=1.0, cost_seconds=seconds, seconds_between_faults=between)
            for between in _RATES_SECONDS.values()
        ]
        lines.append(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    return [*lines, "", *_compare_runs(results, costs, unbroken_ratio)]


def _compare_runs(
    results: Sequence[RunResult], costs: Mapping[Kind, float], unbroken_ratio: float
) -> list[str]:
    """The ledger of each run beside what the model says of its faults; clocks that were off leave none."""
    lines = [
        "| run | elapsed | faults | goodput by its ledger | by the model |",
        "|---|--:|--:|--:|--:|",
    ]
    told = []
    for result in results:
        kinds = Counter(fault.kind for fault in result.faults if fault.heard)
        if not result.ledger or Kind.CLOCK_SKEWED in kinds:
            continue
        elapsed, measured = result.ledger["elapsed_seconds"], result.ledger["goodput_ratio"]
        lost = sum(costs[kind] * count for kind, count in kinds.items() if kind in costs)
        predicted = predict_goodput(
            unbroken_ratio=unbroken_ratio, cost_seconds=lost, seconds_between_faults=elapsed
        )
        told.append((elapsed, kinds.total(), measured * elapsed, predicted * elapsed))
        lines.append(_compare_run(str(result.seed), *told[-1]))
    if told:
        elapsed, faults, measured, predicted = (sum(column) for column in zip(*told, strict=True))
        lines.append(_compare_run("all", elapsed, int(faults), measured, predicted))
    return [*lines, ""]


def _compare_run(name: str, elapsed: float, faults: int, useful: float, predicted: float) -> str:
    shares = f"{useful / elapsed:.1%} | {predicted / elapsed:.1%}"
    return f"| {name} | {elapsed:.0f} s | {faults} | {shares} |"


def _describe_left_out(left_out: Mapping[Kind, str]) -> list[str]:
    if not left_out:
        return []
    return ["## Left out here", "", *(f"- {kind}: {why}" for kind, why in left_out.items()), ""]


def _describe_failures(results: Sequence[RunResult], command: str) -> list[str]:
    failed = [result for result in results if result.problems]
    if not failed:
        return []
    lines = ["## Failures", ""]
    for result in failed:
        kinds = Counter(fault.kind for fault in result.faults)
        lines += [
            f"### run {result.seed} ({result.storage})",
            "",
            f"Repeat it: `{command} --only-seed {result.seed}`. Faults: "
            + ", ".join(f"{kind} {count}" for kind, count in kinds.items()),
            "",
            *(f"    {text}" for problem in result.problems for text in problem.splitlines()),
            "",
        ]
    return lines
