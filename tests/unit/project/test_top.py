"""`synthray top`: what a line of the table says, and whom it asks."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from synthray.cli.entry import run as run_command
from synthray.cli.top_table import (
    Losses,
    Standing,
    build_table,
    draw_sparkline,
    read_progress,
    read_training_run,
)
from synthray.storage.ports import choose_free_ports
from synthray.telemetry.exporter import build_exporter
from synthray.telemetry.progress import build_progress
from synthray.telemetry.report import LastCheckpoint, RunSnapshot, StepFigures

FIGURES = StepFigures(2, 640, 10, 0.25, (), 1.5, 1e-4, 1.0, 20.0, 0.3)
SNAPSHOT = RunSnapshot(
    namespace="default",
    run="chest",
    model="unet-64",
    version="0.1.0",
    epochs=4,
    images_total=1280,
    workers_desired=4,
    state="Running",
    workers_ready=3,
    figures=FIGURES,
    last_checkpoint=LastCheckpoint("s", 2, 600, "s3://x/states/s", 1000.0),
)
STANDING = Standing("chest", "Running", 2, 4, 0.5, 0.25, 20.0, 3, 4, "32 s", 1000.0)


@pytest.fixture
def port() -> Iterator[int]:
    with build_exporter(lambda: SNAPSHOT, host="127.0.0.1", port=0) as exporter:
        yield exporter.port


def render(*standings: Standing, now: float = 1065.0) -> str:
    losses = Losses()
    for loss in (1.0, 0.5, 0.25):
        losses.note([replace(one, loss=loss) for one in standings])
    console = Console(width=160, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(build_table(standings, losses, now))
    return capture.get()


def test_a_drivers_word_and_the_clusters_say_the_same() -> None:
    status = {
        "state": "Running",
        "epoch": 2,
        "epochs": 4,
        "imagesSeen": 640,
        "imagesTotal": 1280,
        "loss": 0.25,
        "imagesPerSecond": 20.0,
        "eta": "32 s",
        "workers": {"ready": 3, "desired": 4},
        "lastCheckpoint": {"time": "1970-01-01T00:16:40Z"},
    }
    document = {"metadata": {"namespace": "xray", "name": "chest"}, "status": status}
    assert read_progress(build_progress(SNAPSHOT)) == STANDING
    assert read_training_run(document) == replace(STANDING, name="xray/chest")


def test_a_run_that_nobody_has_looked_at_is_pending() -> None:
    assert read_training_run({"metadata": {"namespace": "xray", "name": "new"}}) == Standing(
        "xray/new", "Pending"
    )


def test_a_line_tells_where_a_run_stands() -> None:
    line = " ".join(render(STANDING).splitlines()[1].split())
    assert line == "chest Running 2/4 50.0% 0.2500 █▃▁ 20.0 3/4 32 s 1 min 5 s ago"


def test_names_that_look_like_markup_stay_as_they_are() -> None:
    assert "[red]" in render(replace(STANDING, name="[red]"))


@given(st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_a_sparkline_has_a_bar_for_each_value_and_the_least_is_lowest(values: list[float]) -> None:
    bars = draw_sparkline(values)
    assert len(bars) == len(values)
    assert not values or bars[values.index(min(values))] == "▁"


def test_the_runs_of_this_machine_are_asked(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["top", "--port", str(port)]) == 0
    assert "chest" in capsys.readouterr().out


def test_where_nothing_trains_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    (free,) = choose_free_ports(1)
    assert run_command(["top", "--port", str(free), "--once"]) == 3
    assert f"nothing that trains answers at port {free}" in " ".join(capsys.readouterr().err.split())
