"""A model of a run is a diffusers pipeline, as it lies under the prefix and after its export."""

from pathlib import Path

import diffusers
import torch
from committed_run import build_tiny_unet
from run_contexts import build_context

from synthray.checkpoints.attempts import begin_attempt
from synthray.checkpoints.export import export_model
from synthray.checkpoints.layout import TensorSpec
from synthray.checkpoints.requests import SaveRequest
from synthray.checkpoints.saver import Saver
from synthray.checkpoints.store import CheckpointStore
from synthray.storage import ObjectStore, S3Settings, open_store


def test_an_exported_model_draws_what_the_trained_network_would(
    local_store: ObjectStore, tmp_path: Path
) -> None:
    unet = build_tiny_unet(0)
    scheduler = diffusers.DDPMScheduler(timestep_spacing="trailing")
    template = tmp_path / "template"
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(template)
    texts = ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json")

    weights = {name: tensor.numpy() for name, tensor in unet.state_dict().items()}
    specs = [TensorSpec(name, array.dtype.name, array.shape) for name, array in weights.items()]
    context = build_context(
        begin_attempt(local_store, "driver", None),
        model_files={path: (template / path).read_text() for path in texts},
    )
    saver = Saver(
        {"weights": specs, "ema": specs, "optimizer": specs},
        store_uri=local_store.uri,
        settings=S3Settings(),
        context=context,
    )
    saver.begin()
    for arrays in saver.buffers.values():
        for name, array in arrays.items():
            array[...] = weights[name]
    saver.commit(SaveRequest(images_seen=1, step=1, epoch=0, write_model=True, progress={}, ledger={}))
    result = saver.wait()
    saver.close()
    assert result is not None
    assert result.error is None

    checkpoints = CheckpointStore(local_store)
    destination = open_store(str(tmp_path / "exported"), S3Settings())
    export_model(checkpoints, checkpoints.list_models()[-1], destination)
    for folder in (destination.uri, f"{local_store.uri}/models/000000000001-a000001"):
        pipeline = diffusers.DDPMPipeline.from_pretrained(folder)
        assert pipeline.scheduler.config.timestep_spacing == "trailing"
        loaded = pipeline.unet.state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in unet.state_dict().items())
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(num_inference_steps=2, generator=torch.Generator().manual_seed(42)).images
        assert images[0].size == (16, 16)
