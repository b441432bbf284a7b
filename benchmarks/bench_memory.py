"""Memory of a worker over epochs: resident set size at the end of each, of the real loop in this process.

A worker that grows by the epoch dies in the third week. Prints JSON with the configuration; the figure to
look at is `growth_ratio`, the last epoch's size over the second's (the first still warms up).
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import psutil

from synthray.api.loading import load_training_run
from synthray.data.phantom import write_phantom_dataset
from synthray.data.prepare import prepare
from synthray.storage import S3Settings, open_store
from synthray.telemetry.report import SegmentReport
from synthray.training.loop import run_segment
from synthray.training.preflight import check_run, start_attempt
from synthray.training.resolution import resolve_run
from synthray.training.segment import open_segment
from synthray.training.world import World, pick_device

RUN = """
apiVersion: synthray.io/v1alpha1
kind: TrainingRun
metadata: {{name: memory}}
spec:
  dataset: {{uri: {folder}/prepared}}
  model: {{preset: demo-64}}
  optimization: {{epochs: {epochs}, globalBatchSize: 16, microBatchSize: 8}}
  checkpoints: {{uri: {folder}/run}}
  previews: {{seeds: [1, 2], steps: 5}}
"""


class MemoryControl:
    """Notes the size of this process whenever an epoch has ended."""

    def __init__(self) -> None:
        self.rss_mib_by_epoch: dict[int, float] = {}

    def stop_requested(self) -> bool:
        """Never."""
        return False

    def stop_is_patient(self) -> bool:
        """Nothing here waits for storage."""
        return False

    def save_requested(self) -> bool:
        """Never."""
        return False

    def report(self, report: SegmentReport) -> None:
        """The first report of an epoch is sent when the one before it has ended."""
        if report.figures is not None:
            rss_mib = round(psutil.Process().memory_info().rss / 2**20, 1)
            self.rss_mib_by_epoch[report.figures.epoch] = rss_mib


def measure(folder: Path, num_images: int, epochs: int) -> dict[int, float]:
    """Train on phantoms in this process; MiB by epochs done."""
    settings = S3Settings()
    raw, prepared = (open_store(str(folder / name), settings) for name in ("raw", "prepared"))
    write_phantom_dataset(raw, num_images=num_images, size_px=200, seed=0, workers=2)
    prepare(raw, prepared, size_px=64, holdout=0.1)
    file = folder / "run.yaml"
    file.write_text(RUN.format(folder=folder, epochs=epochs))
    run = resolve_run(
        load_training_run(file), os.environ, cache_directory=folder / "cache", compute_capability=None
    ).settings
    attempt = start_attempt(check_run(run, adopt=False), None, images_reached=0, cause=None)
    control = MemoryControl()
    with open_segment(run, attempt, World(0, 1, pick_device("cpu"))) as segment:
        run_segment(segment, control)
    return control.rss_mib_by_epoch


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rss = measure(Path(folder), options.images, options.epochs)
    result = {
        "benchmark": "memory",
        "configuration": {"preset": "demo-64", "images": options.images, "epochs": options.epochs},
        "rss_mib_by_epoch": rss,
        "growth_ratio": round(rss[max(rss)] / rss[2], 4),
    }
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
