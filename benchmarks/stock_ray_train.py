"""Ray Train as its documentation shows it: the peer in measurements, with the same network.

Not part of synthray. A TorchTrainer with DDP and `ray.train.report`, a checkpoint every few steps, and
`FailureConfig(max_failures=-1)`: what a careful user of Ray Train would write. Prints one JSON line a step.

    python benchmarks/stock_ray_train.py FOLDER --steps 100000
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

CHECKPOINT_EVERY_STEPS = 20
MICRO_BATCH = 7


def train_worker(config: dict[str, Any]) -> None:
    """DDP over one device each; resumes from the newest checkpoint that Ray Train knows."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    model = ray.train.torch.prepare_model(unet)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    step = 0
    if (checkpoint := ray.train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            saved = torch.load(Path(folder) / "state.pt", weights_only=True)
        unet.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step = saved["step"]
    rank = ray.train.get_context().get_world_rank()
    while step < config["steps"]:
        images, timesteps = torch.randn(MICRO_BATCH, 1, 16, 16), torch.randint(0, 1000, (MICRO_BATCH,))
        loss = (model(images, timesteps, return_dict=False)[0] - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        line = {"time": time.time(), "step": step, "rank": rank, "process_id": os.getpid()}
        with Path(config["steps_file"]).open("a") as steps_file:
            steps_file.write(json.dumps(line) + "\n")
        if step % CHECKPOINT_EVERY_STEPS == 0:
            _report(unet, optimizer, step, rank)


def _report(unet: Any, optimizer: Any, step: int, rank: int) -> None:
    if rank > 0:
        ray.train.report({"step": step})
        return
    with tempfile.TemporaryDirectory() as folder:
        state = {"model": unet.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, Path(folder) / "state.pt")
        ray.train.report({"step": step}, checkpoint=Checkpoint.from_directory(folder))


def main() -> int:
    """Train in FOLDER, from where an earlier call of the same folder stood."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=100_000)
    options = parser.parse_args()
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    trainer = ray.train.torch.TorchTrainer(
        train_worker,
        train_loop_config={"steps": options.steps, "steps_file": str(options.folder / "steps.jsonl")},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(
            name="stock",
            storage_path=str(options.folder),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            failure_config=FailureConfig(max_failures=-1),
        ),
    )
    trainer.fit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
