"""Kills at random moments: does the result change, and how long until the next new step?

Short runs of a tiny network through `synthray train` with two Ray workers and a real S3 server. At random
moments a worker, the driver, or everything is killed with SIGKILL; what was killed as a whole is started
again by the same command. Each run's final digests are compared with those of a run left alone in one
process. Prints one line a kill and a JSON summary; exit code 1 if a digest differs.

    python benchmarks/bench_kills.py [--kills 5] [--seed 0]
"""

import argparse
import json
import random
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from ray_run import Training
from tiny_run import TinyRun, prepare_tiny_dataset, train, write_tiny_run

from synthray.storage import EmbeddedS3

EPOCHS = 40
KINDS = ("worker", "driver", "everything")
KILLS_A_RUN = 5
TRAINING = ("Running", "Saving", "Complete")


@dataclass
class Campaign:
    """Kills so far, by kind, with the seconds from each kill to the first new step."""

    folder: Path
    environment: Mapping[str, str]
    moments: random.Random
    recovery_seconds: dict[str, list[float]] = field(default_factory=dict)
    num_runs: int = 0
    num_equal: int = 0

    @property
    def num_kills(self) -> int:
        """Kills so far."""
        return sum(map(len, self.recovery_seconds.values()))

    def play_run(self, dataset_uri: str, expected: tuple[str, str, str], max_kills: int) -> None:
        """One run from start to end with up to `max_kills` kills on the way."""
        self.num_runs += 1
        name = f"broken-{self.num_runs}"
        run = write_tiny_run(
            self.folder,
            name,
            dataset_uri,
            uri=f"s3://xray/{name}",
            environment=self.environment,
            epochs=EPOCHS,
        )
        images_total = EPOCHS * run.num_train()
        marks = sorted(self.moments.randrange(images_total * 3 // 4) for _ in range(max_kills))
        training = self._start(run)
        for mark in marks:
            training = self._kill_at(training, run, mark)
        code = training.wait()
        equal = code == 0 and run.digests() == expected
        self.num_equal += equal
        print(f"{name}: exit code {code}, digests {'equal' if equal else 'DIFFERENT'}", flush=True)

    def _kill_at(self, training: Training, run: TinyRun, mark: int) -> Training:
        reached = training.wait_for(lambda progress: progress["images_seen"] >= mark)["images_seen"]
        before = (training.progress() or {"attempt": 0})["attempt"]
        kind = self.moments.choice(KINDS)
        started = time.monotonic()
        if kind == "worker":
            training.kill_worker(self.moments.randrange(2))
        else:
            training.kill_driver() if kind == "driver" else training.kill_everything()
            started = time.monotonic()
            training = self._start(run)
        training.wait_for(lambda progress: progress["attempt"] > before and progress["state"] in TRAINING)
        seconds = time.monotonic() - started
        self.recovery_seconds.setdefault(kind, []).append(seconds)
        print(f"  killed the {kind} after {reached} images; going on after {seconds:.1f} s", flush=True)
        return training

    def _start(self, run: TinyRun) -> Training:
        return Training(run, "--workers", "2", port=_free_port(), environment=self.environment)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    """Kill until enough."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, EmbeddedS3(Path(name) / "s3", port=0) as s3:
        folder = Path(name)
        dataset_uri = prepare_tiny_dataset(folder / "dataset")
        alone = write_tiny_run(folder, "alone", dataset_uri, epochs=EPOCHS)
        train(alone)
        campaign = Campaign(folder, s3.environment, random.Random(options.seed))  # noqa: S311 not a secret
        while campaign.num_kills < options.kills:
            campaign.play_run(
                dataset_uri, alone.digests(), min(KILLS_A_RUN, options.kills - campaign.num_kills)
            )
    result = {
        "benchmark": "kills",
        "configuration": {"kills": options.kills, "seed": options.seed, "workers": 2, "epochs": EPOCHS},
        "runs": campaign.num_runs,
        "runs_equal_to_the_unbroken_one": campaign.num_equal,
        "recovery_seconds": {
            kind: {"kills": len(seconds), "median": round(median(seconds), 1), "max": round(max(seconds), 1)}
            for kind, seconds in sorted(campaign.recovery_seconds.items())
        },
    }
    print(json.dumps(result, indent=2))
    return 0 if campaign.num_equal == campaign.num_runs else 1


if __name__ == "__main__":
    sys.exit(main())
