"""Storage that fails now and then, and storage that is away for minutes: what does it cost, is anything lost?

Two runs of a tiny network through `synthray train --without-ray`, two workers, an S3 server behind the fault
proxy of tests/chaos. In the first, which keeps nothing in its cache and so asks S3 for every image, stretches
in which a share of all requests fails take turns with undisturbed ones of as many images: 500 and 503 before
the server has heard, a reset before, and an answer that is lost after the server has done its work, a quarter
each. In the second the server is away twice: paused, so that requests hang, and killed, so that connections
are refused. Both runs must end with the digests of a run that was left alone. Prints JSON; exit code 1 if a
digest differs or a sample was not counted exactly once.

    python benchmarks/bench_outages.py [--pairs 5] [--images-per-stretch 800] [--outage-minutes 5]
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.chaos.configuration import PROCESSES, Configuration, copy_dataset, prepare_dataset
from tests.chaos.fault_rules import Rule, Spoil
from tests.chaos.oracle import judge, observe_end
from tests.chaos.proxy_process import fault_proxy
from tests.chaos.reference import Reference, find_reference
from tests.chaos.scene import ON_S3, Ground, Scene, build_scene
from tests.chaos.surroundings import Server

from synthray.storage import s3_settings_from_environment

NUM_IMAGES = 960  # 912 of them to train on
WARM_UP_IMAGES = 400
LOOK_SECONDS = 0.1
DEADLINE_SECONDS = 1200.0
Document = dict[str, Any]


def main() -> int:
    """Both runs, one after the other."""
    options = _parse_options()
    images = WARM_UP_IMAGES + 2 * options.pairs * options.images_per_stretch
    configuration = Configuration(PROCESSES, epochs=images // 900 + 2, num_images=NUM_IMAGES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset_uri = prepare_dataset(folder, NUM_IMAGES)
        reference = find_reference(configuration, dataset_uri, folder)
        with Server(folder / "s3") as server, fault_proxy(server.endpoint_url, folder / "proxy.log") as proxy:
            s3_dataset_uri = "s3://xray/dataset"
            copy_dataset(dataset_uri, s3_dataset_uri, s3_settings_from_environment(server.environment))
            ground = Ground(folder, configuration, dataset_uri, s3_dataset_uri, server, proxy)
            failing = measure_failing(
                replace(ground, configuration=replace(configuration, streams=True)), reference, options
            )
            outages = measure_outages(ground, reference, options.outage_minutes * 60)
    result = {
        "benchmark": "outages",
        "configuration": {
            "workers": configuration.num_workers,
            "epochs": configuration.epochs,
            "images_per_epoch": NUM_IMAGES,
            "cores": os.cpu_count(),
            "machine": platform.platform(),
            "load_average": os.getloadavg()[2],
        },
        "requests_that_fail": failing,
        "outages": outages,
    }
    print(json.dumps(result, indent=2))
    return 1 if failing["problems"] or outages["problems"] else 0


def measure_failing(ground: Ground, reference: Reference, options: argparse.Namespace) -> Document:
    """Images per second in stretches of both kinds, which take turns in one run."""
    rules = plan_rules(options.failing_share)
    rates: dict[bool, list[float]] = {False: [], True: []}
    with build_scene(ground, 0, storage=ON_S3, with_disk=False, with_clock=False) as scene:
        scene.start()
        wait_for_images(scene, WARM_UP_IMAGES)
        for pair in range(options.pairs):
            for fails in (False, True) if pair % 2 == 0 else (True, False):
                ground.proxy.clear()
                ground.proxy.set(*(rules if fails else ()))
                rates[fails].append(measure_rate(scene, options.images_per_stretch))
        ground.proxy.clear()
        counters = ground.proxy.counters()
        end = finish(scene, reference)
    undisturbed, disturbed = (len(rates[fails]) / sum(1 / rate for rate in rates[fails]) for fails in rates)
    return {
        "failing_share": options.failing_share,
        "requests": counters["requests"],
        "strikes": counters["strikes"],
        "images_per_second": {
            "undisturbed": [round(rate, 1) for rate in rates[False]],
            "disturbed": [round(rate, 1) for rate in rates[True]],
        },
        "throughput_ratio": round(disturbed / undisturbed, 3),
        "throughput_ratio_median_of_pairs": round(
            median(after / before for before, after in zip(rates[False], rates[True], strict=True)), 3
        ),
        **end,
    }


def plan_rules(share: float) -> Sequence[Rule]:
    """Four kinds of failures, each as often, for `share` of all requests together."""
    each = share / 4
    return (
        Rule("500", Spoil.STATUS, "request", probability=each, status=500, code="InternalError"),
        Rule("503", Spoil.STATUS, "request", probability=each, status=503, code="SlowDown"),
        Rule("reset", Spoil.RESET, "request", probability=each),
        Rule("lost answer", Spoil.RESET, "response", probability=each),
    )


def measure_outages(ground: Ground, reference: Reference, seconds: float) -> Document:
    """The server is paused for so long, and later killed for so long."""
    server = ground.server
    total = reference.result.state[0]
    marks = [int(total) // 4, int(total) // 2]
    ways = (
        ("paused", server.pause, server.wake),
        ("killed", server.kill, server.begin_restart),
    )
    with build_scene(ground, 1, storage=ON_S3, with_disk=False, with_clock=False) as scene:
        scene.start()
        played = []
        for mark, (name, begin, end) in zip(marks, ways, strict=True):
            wait_for_images(scene, mark)
            played.append({"server": name, **measure_outage(scene, begin, end, seconds)})
        server.wait()
        return {"seconds": seconds, "outages": played, **finish(scene, reference)}


def measure_outage(
    scene: Scene, begin: Callable[[], None], end: Callable[[], None], seconds: float
) -> Document:
    """When it was told that training waits, how far it came before, and when it went on."""
    before = look(scene)
    started = time.monotonic()
    begin()
    waits_after: float | None = None
    while (now := time.monotonic() - started) < seconds:
        if waits_after is None and look(scene)["state"] == "WaitingForStorage":
            waits_after = now
        time.sleep(LOOK_SECONDS)
    paused = look(scene)
    end()
    ended = time.monotonic()
    after = wait_for_images(scene, paused["images_seen"] + 1)
    return {
        "told_that_it_waits_after_seconds": round(waits_after, 1) if waits_after is not None else None,
        "images_from_the_cache_meanwhile": paused["images_seen"] - before["images_seen"],
        "state_at_its_end": paused["state"],
        "went_on_after_seconds": round(time.monotonic() - ended, 1),
        "attempts_that_it_took": after["attempt"] - before["attempt"],
    }


def measure_rate(scene: Scene, images: int) -> float:
    """Images per second over so many."""
    first, started = look(scene)["images_seen"], time.monotonic()
    last = wait_for_images(scene, first + images)["images_seen"]
    return float((last - first) / (time.monotonic() - started))


def wait_for_images(scene: Scene, images: int) -> Mapping[str, Any]:
    """Until so many were seen."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (progress := look(scene, deadline))["images_seen"] < images:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{images} images not seen within {DEADLINE_SECONDS:.0f} s: {progress}")
        time.sleep(LOOK_SECONDS)
    return progress


def look(scene: Scene, deadline: float | None = None) -> Mapping[str, Any]:
    """`/progress`, once it is there."""
    until = deadline or time.monotonic() + DEADLINE_SECONDS
    while (progress := scene.current.look()) is None:
        if scene.current.exit_code is not None or time.monotonic() > until:
            raise RuntimeError(f"`synthray train` ended too early:\n{scene.current.tail()}")
        time.sleep(LOOK_SECONDS)
    return progress


def finish(scene: Scene, reference: Reference) -> Document:
    """Wait for the run's end, and judge it."""
    code = scene.current.process.wait(DEADLINE_SECONDS)
    scene.commands.clear()
    end = observe_end(scene, scene.end(grace_seconds=20))
    problems = judge(end, reference.result)
    if code != 0:
        problems.append(f"exit code {code}")
    return {"redone_images": sum(end.lost_images.values()), "problems": problems}


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5, help="of an undisturbed and a disturbed stretch")
    parser.add_argument("--images-per-stretch", type=int, default=800)
    parser.add_argument("--failing-share", type=float, default=0.05, help="of requests")
    parser.add_argument("--outage-minutes", type=float, default=5.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
