"""Campaigns of faults against real runs: does the result change, does anything hang, what does it cost?

    make chaos CHAOS='--hours 1 --seed 7 --through processes'
    python -m tests.chaos --faults 100 --through ray

Each run trains a tiny network with real processes, a real S3 server behind a fault proxy, and a schedule of
faults drawn from its seed: workers, driver or everything killed, hung, paused or told to leave; two drivers
at once; another number of workers; the server paused or killed; requests failing in every way; a full disk;
a clock that is off. Afterwards an oracle compares weights, EMA, optimizer and every epoch's model with those
of a run that was left alone, and the workers' own record of samples with the accepted history.

Runs are written to results.jsonl in the campaign's folder, one line each. The same command goes on where it
was stopped, and ends at once when there were enough faults. A run that failed keeps its folder and is
repeated by `--only-seed`, with the same faults at the same images. Exit code 1 if any run has failed.

`--minutes-between-faults 10 --epochs N` plays faults that arrive by the clock instead, for the goodput of a
real run beside the model's; the numbers of epochs and images decide how long it takes. The unbroken run of
the same length is then computed last; the same command with `--faults 0` computes it beside. `--costs-from`
names the folders of campaigns that measured what faults cost.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from .campaign import Campaign, Limits, open_campaign
from .configuration import NUM_IMAGES, PROCESSES, RAY, Configuration, prepare_dataset
from .faults import Kind
from .proxy_process import ROOT
from .reference import find_reference
from .report import build_report
from .results import RESULTS_NAME, RunResult, read_results

_EPOCHS_PER_FAULT = 1.1
_EVER = 1e9


def main() -> int:
    """Play, judge, report."""
    options = _parse_options()
    per_run = options.faults_per_run
    epochs = options.epochs or max(5, round(per_run * _EPOCHS_PER_FAULT))
    configuration = Configuration(
        options.through, epochs, hang_after_seconds=options.hang_after, num_images=options.images
    )
    between = options.minutes_between_faults
    limits = Limits(
        seed=options.seed,
        seconds=options.hours * 3600 if options.hours else _EVER,
        num_faults=options.faults or int(_EVER),
        faults_per_run=per_run,
        seconds_between_faults=between * 60 if between else None,
        only_seed=options.only_seed,
        kinds=frozenset(options.kinds),
    )
    folder: Path = options.directory or ROOT / ".cache" / "chaos" / f"{options.through}-{options.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    dataset_uri = prepare_dataset(folder, configuration.num_images)
    print(f"the campaign is in {folder}, and so is the unbroken run once it has been computed", flush=True)
    if options.faults == 0:
        find_reference(configuration, dataset_uri, folder)
        return 0
    costs = [result for place in options.costs_from for result in read_results(place / RESULTS_NAME)]
    with open_campaign(folder, configuration, limits, dataset_uri) as campaign:
        return _play(campaign, configuration, folder, costs)


def _play(campaign: Campaign, configuration: Configuration, folder: Path, costs: Sequence[RunResult]) -> int:
    played = []
    for result in campaign.play():
        played.append(result)
        print(_describe(result), flush=True)
        results = campaign.results() or played
        report = build_report(
            configuration,
            results,
            unbroken_ratio=campaign.reference.goodput_ratio,
            left_out=campaign.left_out,
            command=f"python -m tests.chaos {' '.join(sys.argv[1:])}",
            costs_from=costs or results,
        )
        (folder / "report.md").write_text(report)
    results = campaign.results() or played
    if (folder / "report.md").exists():
        print((folder / "report.md").read_text())
    return 1 if any(result.problems for result in [*results, *played]) else 0


def _describe(result: RunResult) -> str:
    verdict = "; ".join(result.problems) or "equal"
    what = f"run {result.seed} on {result.storage}, {len(result.faults)} faults, {result.seconds:.0f} s"
    return f"{what}: {verdict}"


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--through", choices=(PROCESSES, RAY), default=PROCESSES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, help="start no run after so long")
    parser.add_argument(
        "--faults",
        type=int,
        help="end after so many; 100 unless there are --hours; none: compute the unbroken run",
    )
    parser.add_argument("--faults-per-run", type=int, default=25)
    parser.add_argument("--epochs", type=int, help="length of a run; by default enough for its faults")
    parser.add_argument("--images", type=int, default=NUM_IMAGES, help="of an epoch, held out ones included")
    parser.add_argument("--hang-after", type=float, default=30.0, help="seconds, as for `synthray train`")
    parser.add_argument("--minutes-between-faults", type=float, help="faults by the clock, on average")
    parser.add_argument("--kinds", type=_parse_kinds, default=tuple(Kind), help="some kinds, with commas")
    parser.add_argument("--only-seed", type=int, help="repeat one run of a report; writes no results")
    parser.add_argument("--costs-from", type=Path, nargs="+", default=(), help="folders of campaigns")
    parser.add_argument("--directory", type=Path, help="the campaign's folder, .cache/chaos/... by default")
    options = parser.parse_args()
    if options.faults is None and options.hours is None:
        options.faults = 100
    return options


def _parse_kinds(text: str) -> tuple[Kind, ...]:
    return tuple(Kind(name) for name in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
