"""Real faults that must fire alerts: real training, real S3, a real Prometheus, the chart's own rules.

A run trains over a proxy that can spoil its requests, and a service draws; Prometheus scrapes both. Fault by
fault: its alerts are silent, the fault is injected, they fire, it is healed, they fall silent. Only time is
shorter, by `--factor` (`alert_rules`). Alerts that need an operator's view of a cluster are not shown here.

    make alert-faults ALERT_FAULTS='[--only NAME ...] [--report FILE]'
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import torch
import yaml
from live_prometheus import LivePrometheus, scrape_these
from ray_run import Training
from served import SETTINGS, build_app, listening, load_tiny_model
from tiny_run import prepare_tiny_dataset, write_tiny_run

from synthray.data.dataset import read_dataset
from synthray.generation.models import LoadedModel
from synthray.serving.service import Service
from synthray.storage import EmbeddedS3, ObjectStore, S3Settings, open_store, s3_settings_from_environment
from synthray.storage.ports import choose_free_ports

from .alert_rules import shorten
from .fault_rules import Rule, Spoil
from .proxy_process import ProxyControl, fault_proxy

RULES: Final = Path(__file__).parents[2] / "helm" / "synthray" / "files" / "alerts.yaml"
DATASET: Final = "s3://xray/tiny"
PATIENCE_SECONDS: Final = 240.0
KILLS: Final = 7


@dataclass(frozen=True)
class Scene:
    """What faults act on."""

    training: Training
    proxy: ProxyControl
    dataset: ObjectStore
    drawn_with: LoadedModel


@dataclass(frozen=True)
class Case:
    """One fault, the alerts that it must fire, and how it is undone; without `heal` it stays."""

    fault: str
    alerts: tuple[str, ...]
    strike: Callable[[Scene], None]
    heal: Callable[[Scene], None] | None = None


@dataclass(frozen=True)
class Seen:
    """What came of it; None: it did not come in time. What stays is not waited for."""

    alert: str
    fault: str
    fired_seconds: float | None
    silent_seconds: float | None
    stays: bool


def main(arguments: Sequence[str]) -> int:
    """Show each; exit code 1 if an alert did not fire, or would not fall silent."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factor", type=float, default=60.0, help="by which times are divided")
    parser.add_argument("--only", nargs="*", default=[], help="names of alerts")
    parser.add_argument("--report", type=Path, help="where the table goes; else standard output")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if not options.only or set(case.alerts) & set(options.only)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scene, prometheus = stack.enter_context(playing(Path(folder), options.factor))
        seen = [one for case in cases for one in show(case, scene, prometheus)]
    table = write_table(seen)
    if options.report:
        options.report.write_text(table)
    print(table)
    return int(
        any(one.fired_seconds is None or (one.silent_seconds is None and not one.stays) for one in seen)
    )


@contextmanager
def playing(folder: Path, factor: float) -> Iterator[tuple[Scene, LivePrometheus]]:
    """A run that trains without end, a service, and a Prometheus that knows both."""
    rules = folder / "rules.yaml"
    rules.write_text(yaml.safe_dump(shorten(yaml.safe_load(RULES.read_text()), factor)))
    (port,) = choose_free_ports(1)
    with EmbeddedS3(folder / "s3", port=0) as s3, fault_proxy(s3.endpoint_url, folder / "proxy.log") as proxy:
        dataset = open_store(DATASET, s3_settings_from_environment(s3.environment))
        copy_objects(open_store(prepare_tiny_dataset(folder), S3Settings()), dataset)
        run = write_tiny_run(folder, "run", DATASET, uri="s3://xray/run", epochs=100_000)
        environment = {
            **s3.environment,
            "AWS_ENDPOINT_URL": proxy.endpoint_url,
            "SYNTHRAY_STORAGE_DEADLINE_SECONDS": "1",
        }
        changes = ("--workers", "2", "--set", "spec.workers.cacheSize=1")
        with (
            Training(run, *changes, port=port, environment={**os.environ, **environment}) as training,
            drawing() as (service, loaded),
            listening(build_app(service)) as images,
        ):
            targets = {"runs": f"http://127.0.0.1:{port}", "images": images}
            with LivePrometheus(folder, scrape_these(targets, rules)) as prometheus:
                training.wait_for(lambda progress: progress["images_seen"] > 100)
                prometheus.wait_for("count(up == 1) == 2")
                yield Scene(training, proxy, dataset, loaded), prometheus


@contextmanager
def drawing() -> Iterator[tuple[Service, LoadedModel]]:
    """A service that tests itself every two seconds, and the model that it draws with."""
    loaded = load_tiny_model()
    service = Service(loaded, replace(SETTINGS, self_test_seconds=2.0, follow_seconds=0.0))
    yield service, loaded
    service.stop(grace_seconds=0)


def copy_objects(source: ObjectStore, destination: ObjectStore) -> None:
    """All of them."""
    for info in source.list(""):
        destination.write(info.key, source.read(info.key))


def show(case: Case, scene: Scene, prometheus: LivePrometheus) -> Iterator[Seen]:
    """Strike and heal, with the times that its alerts took."""
    for alert in case.alerts:
        wait(lambda alert=alert: not is_firing(prometheus, alert))  # type: ignore[misc]
    say(f"{case.fault}: {', '.join(case.alerts)}")
    struck = time.monotonic()
    case.strike(scene)
    fired = wait_for_all(case.alerts, lambda alert: is_firing(prometheus, alert), since=struck)
    silent: Mapping[str, float] = {}
    if case.heal is not None:
        case.heal(scene)
        healed = time.monotonic()
        silent = wait_for_all(case.alerts, lambda alert: not is_firing(prometheus, alert), since=healed)
    for alert in case.alerts:
        say(f"  {alert}: fired after {fired.get(alert)}, silent after {silent.get(alert)}")
        yield Seen(alert, case.fault, fired.get(alert), silent.get(alert), case.heal is None)


def is_firing(prometheus: LivePrometheus, alert: str) -> bool:
    """Whether Prometheus would tell a person."""
    return bool(prometheus.query(f'ALERTS{{alertname="{alert}", alertstate="firing"}}'))


def wait_for_all(alerts: Sequence[str], is_so: Callable[[str], bool], *, since: float) -> Mapping[str, float]:
    """The seconds after which each was so, of those that were in time."""
    found: dict[str, float] = {}

    def look() -> bool:
        for alert in alerts:
            if alert not in found and is_so(alert):
                found[alert] = round(time.monotonic() - since, 1)
        return len(found) == len(alerts)

    wait(look)
    return found


def wait(is_so: Callable[[], bool]) -> None:
    """Until it is so, or patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.25)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def write_table(seen: Sequence[Seen]) -> str:
    """The table of a report."""
    lines = ["| alert | fault | fires after | silent after |", "|---|---|--:|--:|"]
    for one in seen:
        silent = "stays" if one.stays else write_seconds(one.silent_seconds)
        lines.append(f"| {one.alert} | {one.fault} | {write_seconds(one.fired_seconds)} | {silent} |")
    return "\n".join(lines) + "\n"


def write_seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f} s"


def signal_workers(scene: Scene, number: signal.Signals) -> None:
    """To all workers of the run."""
    progress = scene.training.progress()
    assert progress is not None
    for rank in progress["workers"]["ranks"]:
        os.kill(rank["process_id"], number)


def spoil(*rules: Rule) -> Callable[[Scene], None]:
    """A proxy that does this from now on."""
    return lambda scene: scene.proxy.set(*rules)


def clear(scene: Scene) -> None:
    """A proxy that does nothing more."""
    scene.proxy.clear()


def kill_again_and_again(scene: Scene) -> None:
    """A worker after the other, each once there is progress."""
    for _ in range(KILLS):
        before = scene.training.progress()
        scene.training.kill_worker(0)
        assert before is not None
        scene.training.wait_for(
            lambda now, before=before: (
                now["attempt"] > before["attempt"]  # type: ignore[misc]
                and now["images_seen"] > before["images_seen"]
            )
        )


def damage_a_sample(scene: Scene) -> None:
    """A byte of one sample in the bucket is another than it was."""
    dataset = read_dataset(scene.dataset)
    path = dataset.description.shards[int(dataset.train.shard_number[0])].path
    data = bytearray(scene.dataset.read(path))
    data[int(dataset.train.offset[0] + dataset.train.length[0] // 2)] ^= 0xFF
    scene.dataset.write(path, bytes(data))


def change_a_weight(scene: Scene) -> None:
    """The model in memory is another from one moment to the next."""
    parameter = next(scene.drawn_with.unet.parameters())
    with torch.no_grad():
        parameter.view(-1)[0] += 1.0


CASES: Final = (
    Case(
        "the workers stand still (SIGSTOP)",
        ("SynthrayNoSteps",),
        lambda scene: signal_workers(scene, signal.SIGSTOP),
        lambda scene: signal_workers(scene, signal.SIGCONT),
    ),
    Case(
        "half of the reads are answered with 503 SlowDown",
        ("SynthrayStorageRetries",),
        spoil(Rule("slow-down", Spoil.STATUS, "request", method="GET", probability=0.5)),
        clear,
    ),
    Case(
        "each read takes 0.3 s longer, with no cache",
        ("SynthrayDataWait", "SynthrayThroughputDrop"),
        spoil(Rule("latency", Spoil.LATENCY, "request", method="GET", seconds=0.3)),
        clear,
    ),
    Case(
        "all writes are answered with 503",
        ("SynthrayCheckpointSavesFail", "SynthrayCheckpointOld"),
        spoil(
            Rule("no-put", Spoil.STATUS, "request", method="PUT"),
            Rule("no-post", Spoil.STATUS, "request", method="POST"),
        ),
        clear,
    ),
    Case(
        f"a worker is killed {KILLS} times", ("SynthrayRestartStorm",), kill_again_and_again, lambda _: None
    ),
    Case("a byte of a sample in the bucket is another", ("SynthraySkippedSamples",), damage_a_sample),
    Case("a weight in the replica's memory is another", ("SynthraySelfTestFailed",), change_a_weight),
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
