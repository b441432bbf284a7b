"""One run of a campaign with all that it stands on, so that faults find everything in one place."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from marked_processes import wait_until_gone
from tiny_run import TinyRun, write_tiny_run

from synthray.checkpoints.store import CheckpointStore
from synthray.storage import S3Settings, open_store, s3_settings_from_environment

from .configuration import Configuration
from .proxy_process import ProxyControl
from .surroundings import Server, SkewedClock, SmallDisk, small_disk
from .train_command import SYNTHRAY, TrainCommand, everything_of, signal_all

ON_S3, ON_DISK = "s3", "disk"
_DISK_MIB = 96


@dataclass(frozen=True)
class Ground:
    """What all runs of a campaign share; the dataset lies in a folder and in the server's bucket."""

    folder: Path
    configuration: Configuration
    dataset_uri: str
    s3_dataset_uri: str
    server: Server
    proxy: ProxyControl


@dataclass
class Scene:
    """A run in its folder; the commands that train it now, and where its checkpoints lie."""

    ground: Ground
    folder: Path
    mark: str
    run: TinyRun
    storage: str
    disk: SmallDisk | None
    clock: SkewedClock | None
    commands: list[TrainCommand] = field(default_factory=list)
    scalings: list[subprocess.Popen[bytes]] = field(default_factory=list)
    num_starts: int = 0

    @property
    def server(self) -> Server:
        """The campaign's server."""
        return self.ground.server

    @property
    def proxy(self) -> ProxyControl:
        """What the run takes for the server."""
        return self.ground.proxy

    @property
    def audit_folder(self) -> Path:
        """Where workers record what they compute."""
        return self.folder / "audit"

    @property
    def current(self) -> TrainCommand:
        """The command that was started last."""
        return self.commands[-1]

    def start(self) -> None:
        """Give the command (again); a second one beside the first is a fault."""
        self.num_starts += 1
        environment = {**self.run.environment, "SYNTHRAY_AUDIT_DIRECTORY": str(self.audit_folder)}
        if self.clock is not None:
            environment.update(self.clock.environment)
        self.commands.append(
            TrainCommand(
                self.run.file,
                [*self.ground.configuration.arguments(), "--cache", str(self.run.cache)],
                log=self.folder / f"train-{self.num_starts:03d}.log",
                environment=environment,
                mark=self.mark,
            )
        )

    def scale(self, num_workers: int) -> None:
        """`synthray scale`, beside what else happens."""
        with (self.folder / "scale.log").open("ab") as log:
            command = [SYNTHRAY, "scale", str(self.run.file), "--workers", str(num_workers)]
            self.scalings.append(
                subprocess.Popen(
                    [*command, "--metrics-port", str(self.current.port)], stdout=log, stderr=subprocess.STDOUT
                )
            )

    def checkpoints(self) -> CheckpointStore:
        """The run's checkpoints, read past the proxy."""
        settings = S3Settings()
        if self.storage == ON_S3:
            settings = s3_settings_from_environment(self.server.environment)
        return CheckpointStore(open_store(self.run.checkpoints_uri, settings))

    def end(self, *, grace_seconds: float) -> list[str]:
        """End what still runs; what was left although every command had ended within the grace."""
        was_over = not self.commands
        left = wait_until_gone(self.mark, grace_seconds) if was_over else []
        for command in self.commands:
            command.kill_everything()
        self.commands.clear()
        for process in self.scalings:
            process.kill()
            process.wait()
        signal_all(everything_of(self.mark), signal.SIGKILL)
        return left


@contextmanager
def build_scene(
    ground: Ground, seed: int, *, storage: str, with_disk: bool, with_clock: bool
) -> Iterator[Scene]:
    """A run of its own; whatever happens, nothing of it runs or is mounted afterwards."""
    name = f"run-{seed}-{uuid4().hex[:6]}"
    folder = ground.folder / name
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk", _DISK_MIB)) if with_disk else None
        room = disk.folder if disk else folder / "room"
        on_s3 = storage == ON_S3
        environment = {**ground.server.environment, "AWS_ENDPOINT_URL": ground.proxy.endpoint_url}
        run = write_tiny_run(
            folder,
            name,
            ground.s3_dataset_uri if on_s3 else ground.dataset_uri,
            uri=f"s3://xray/{name}" if on_s3 else str(room / "checkpoints"),
            environment=environment if on_s3 else {},
        )
        run = replace(run, cache=room / "cache")
        clock = SkewedClock(folder / "clock") if with_clock else None
        scene = Scene(ground, folder, name, run, storage, disk, clock)
        stack.callback(scene.end, grace_seconds=0)
        stack.callback(ground.proxy.clear)
        yield scene
