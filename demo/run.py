"""`make demo`: everything that synthray is for, on one machine, in the commands that a user would type.

Starts a real S3 server, draws chest X-rays, prepares them, trains with two Ray workers, kills one of them on
the way, and asks for sixteen seeds. Run again, it goes on where it stopped; `--fresh` starts anew.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console

from synthray.errors import SynthrayError
from synthray.storage import EmbeddedS3

PROJECT = Path(__file__).resolve().parent.parent
RUN_FILE = "manifests/examples/demo-64.yaml"
SYNTHRAY = str(Path(sys.executable).with_name("synthray"))
EXIT_INTERRUPTED = 130
_SAVE_SECONDS = 90.0

console = Console(highlight=False)


class Demo:
    """Runs commands one after the other and remembers how long each took."""

    def __init__(self, environment: dict[str, str], metrics_port: int) -> None:
        self._environment = os.environ | environment
        self._metrics_port = metrics_port
        self._seconds: list[tuple[str, float]] = []

    def run(self, title: str, *arguments: str, lose_a_worker: bool = False) -> None:
        """Show a command, run it, and end the demo with its exit code if it fails."""
        console.print(f"\n[bold]{title}[/bold]\n  [cyan]$ synthray {' '.join(arguments)}[/cyan]")
        started = time.monotonic()
        with subprocess.Popen([SYNTHRAY, *arguments], env=self._environment, cwd=PROJECT) as process:
            try:
                if lose_a_worker:
                    self._kill_a_worker_in_the_middle(process)
                process.wait()
            except KeyboardInterrupt:
                _let_end(process)
                raise
        self._seconds.append((title, time.monotonic() - started))
        if process.returncode != 0:
            console.print(f"[red]exit code {process.returncode}[/red]; `make demo` again goes on from here")
            sys.exit(process.returncode)

    def _kill_a_worker_in_the_middle(self, training: "subprocess.Popen[bytes]") -> None:
        """SIGKILL the last worker between a third and two thirds of the run, if it comes by there."""
        while training.poll() is None:
            progress = read_progress(self._metrics_port)
            if progress is not None and progress["state"] == "Running":
                ranks, share = (
                    progress["workers"]["ranks"],
                    progress["images_seen"] / progress["images_total"],
                )
                if share > 2 / 3:
                    return
                if share > 1 / 3 and len(ranks) == progress["workers"]["desired"]:
                    os.kill(ranks[-1]["process_id"], signal.SIGKILL)
                    console.print(
                        f"\n[bold red]Killed worker {ranks[-1]['rank']} with SIGKILL.[/bold red] "
                        "The run goes on from its newest state; its result will not know."
                    )
                    return
            time.sleep(1)

    def print_times(self) -> None:
        """Where the minutes went."""
        for title, seconds in self._seconds:
            console.print(f"  {seconds:6.0f} s  {title}")
        console.print(f"  {sum(seconds for _, seconds in self._seconds):6.0f} s  in all")


def _let_end(process: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C reached the command too: S3 must stay until it has saved; once more ends it at once."""
    try:
        process.wait(_SAVE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()


def read_progress(port: int) -> dict[str, Any] | None:
    """The driver's `/progress`; None while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=2) as answer:
            document: dict[str, Any] = json.load(answer)
            return document
    except (urllib.error.URLError, OSError, ValueError):
        return None


def play(options: argparse.Namespace, directory: Path) -> None:
    """The main job, from raw images to a picture for a seed."""
    pictures, gallery = directory / "pictures", directory / "gallery"
    with EmbeddedS3(directory / "s3", port=options.s3_port, bucket="xray") as s3:
        demo = Demo(s3.environment, options.metrics_port)
        console.print(
            f"S3 at {s3.endpoint_url}; metrics and progress while it trains: "
            f"http://127.0.0.1:{options.metrics_port}/metrics and /progress"
        )
        demo.run("Draw chest X-rays", "phantom", "s3://xray/phantom", "--images", str(options.images))
        demo.run("Prepare them", "prepare", "s3://xray/phantom", "s3://xray/phantom-64", "--size", "64")
        epochs = ["--set", f"spec.optimization.epochs={options.epochs}"] if options.epochs else []
        port = ["--metrics-port", str(options.metrics_port)]
        demo.run(
            "Train on two workers, and lose one on the way",
            "train",
            RUN_FILE,
            *port,
            *epochs,
            lose_a_worker=True,
        )
        demo.run("What was saved", "checkpoints", "list", "s3://xray/runs/demo-64")
        demo.run(
            "Sixteen seeds",
            "generate",
            "s3://xray/runs/demo-64",
            "--seed",
            "0",
            "--count",
            "16",
            "--out",
            str(pictures),
        )
        demo.run("The gallery", "gallery", "s3://xray/runs/demo-64", str(gallery))
        console.print("\n[bold]Done.[/bold] Where the minutes went:")
        demo.print_times()
    console.print(
        f"\n  pictures  {pictures}/grid.png\n  gallery   {gallery}/index.html\n\nNext, with the same images:"
    )
    console.print(f"  [cyan]$ synthray storage --directory {directory}/s3[/cyan]   # prints what to export")
    console.print(
        f"  [cyan]$ synthray verify {pictures}/seed-0.png[/cyan]         # draws it again and compares"
    )


def main() -> None:
    """Parse, play, and leave nothing running."""
    parser = argparse.ArgumentParser(prog="make demo DEMO='...'", description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="forget the last demo and start anew")
    parser.add_argument("--images", type=int, default=2000, help="X-rays to draw (2000)")
    parser.add_argument("--epochs", type=int, help="epochs to train (what the run's file says)")
    parser.add_argument(
        "--directory", type=Path, default=PROJECT / ".demo", help="where all of it goes (.demo)"
    )
    parser.add_argument("--s3-port", type=int, default=8333, help="port of the S3 server (8333)")
    parser.add_argument(
        "--metrics-port", type=int, default=8090, help="port of /metrics and /progress (8090)"
    )
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.directory, ignore_errors=True)
    options.directory.mkdir(parents=True, exist_ok=True)
    try:
        play(options, options.directory.resolve())
    except SynthrayError as error:
        console.print(f"[red]{error.message}[/red]")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print("\nStopped; `make demo` goes on from here, `make demo DEMO=--fresh` starts anew.")
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
