"""A campaign's report in Markdown, from its results alone. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean

from .configuration import Configuration
from .faults import MIX, Kind
from .goodput import mean_cost_seconds, predict_goodput
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
_RATES_SECONDS = {"10 minutes": 600.0, "30 minutes": 1800.0}


def build_report(
    configuration: Configuration,
    results: Sequence[RunResult],
    *,
    unbroken_ratio: float,
    left_out: Mapping[Kind, str],
    command: str,
) -> str:
    """Verdict, recovery by kind, goodput, and how to repeat what failed."""
    return "\n".join(
        [
            "# Faults",
            "",
            *_describe_verdict(configuration, results),
            "",
            *_describe_kinds(results),
            "",
            *_describe_goodput(results, unbroken_ratio),
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


def measured_costs(results: Sequence[RunResult]) -> dict[Kind, float]:
    """The mean cost of each kind that was measured."""
    costs: dict[Kind, list[float]] = {}
    for result in results:
        for fault in result.faults:
            if fault.cost_seconds is not None:
                costs.setdefault(fault.kind, []).append(fault.cost_seconds)
    return {kind: mean(seconds) for kind, seconds in costs.items()}


def _describe_goodput(results: Sequence[RunResult], unbroken_ratio: float) -> list[str]:
    costs = measured_costs(results)
    cost = mean_cost_seconds(costs, {kind: trait.weight for kind, trait in MIX.items()})
    lines = [
        "## Goodput",
        "",
        _MODEL,
        "",
        f"- g = {unbroken_ratio:.3f}, c = {cost:.1f} s over {len(costs)} measured kinds.",
    ]
    for name, seconds in _RATES_SECONDS.items():
        predicted = predict_goodput(
            unbroken_ratio=unbroken_ratio, cost_seconds=cost, seconds_between_faults=seconds
        )
        lines.append(
            f"- predicted at a fault per {name}: {predicted:.1%} ({predicted / unbroken_ratio:.1%} of g)"
        )
    return lines + [_compare_run(result, costs, unbroken_ratio) for result in results if result.ledger][:20]


def _compare_run(result: RunResult, costs: Mapping[Kind, float], unbroken_ratio: float) -> str:
    """One run's ledger beside what the model says of its own faults at their own rate."""
    elapsed = result.ledger["elapsed_seconds"]
    kinds = Counter(fault.kind for fault in result.faults if fault.heard)
    number = max(1, kinds.total())
    predicted = predict_goodput(
        unbroken_ratio=unbroken_ratio,
        cost_seconds=mean_cost_seconds({kind: costs[kind] for kind in kinds if kind in costs}, kinds),
        seconds_between_faults=elapsed / number,
    )
    return (
        f"- run {result.seed}: a fault per {elapsed / number:.0f} s; its ledger says "
        f"{result.ledger['goodput_ratio']:.1%}, the model {predicted:.1%}"
    )


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
