"""How soon the gallery of a long run can be looked at: a real Chromium, the page and its pictures on disk.

220 epochs of 16 seeds by two kinds of weights are 7,040 pictures of 512 px. The page asks for those alone
that are about to be seen, so what counts is the page's own size. Printed as JSON.

    python benchmarks/bench_gallery.py [--epochs 220] [--seeds 16]
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from synthray.generation.gallery_page import GalleryContent, Picture, build_page
from synthray.generation.loss_curve import EpochPoint, Fault
from synthray.generation.preview_names import WEIGHTS, PreviewName

CHROMIUM = "/usr/bin/chromium"
EPOCH_IMAGES = 9_500
SIZE_PX = 512
NEXT_FRAME = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
TO_THE_END = "document.querySelector('table.pictures').parentElement.scrollTo(1e6, 0)"


def main() -> None:
    """Write the page, open it, scroll it, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=220)
    parser.add_argument("--seeds", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page_bytes, build_seconds = write_page(folder, options.epochs, options.seeds)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            seen = look(browser.new_page(), folder / "gallery.html")
            browser.close()
    machine = {"cores": os.cpu_count(), "load_average": os.getloadavg(), "machine": platform.platform()}
    figures = {"page_bytes": page_bytes, "build_seconds": build_seconds, **seen}
    print(json.dumps({"configuration": {**vars(options), **machine}, **figures}, indent=2))


def write_page(folder: Path, epochs: int, seeds: int) -> tuple[int, float]:
    """The page and all of its pictures; the page's size, and the time to build it."""
    dice = np.random.default_rng(0)
    smooth = np.clip(np.cumsum(dice.normal(0, 2, (SIZE_PX, SIZE_PX)), axis=1) + 128, 0, 255)
    Image.fromarray(smooth.astype(np.uint8)).save(folder / "picture.png")
    png = (folder / "picture.png").read_bytes()
    pictures = []
    for epoch in range(1, epochs + 1):
        for weights in WEIGHTS:
            for seed in range(seeds):
                preview = PreviewName(epoch * EPOCH_IMAGES, weights, seed)
                path = folder / preview.picture_key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png)
                pictures.append(
                    Picture(preview.images_seen, epoch, weights, seed, preview.picture_key, SIZE_PX, SIZE_PX)
                )
    history = tuple(EpochPoint(epoch, epoch * EPOCH_IMAGES, 0.5, 0.6) for epoch in range(1, epochs + 1))
    faults = tuple(Fault(epoch * EPOCH_IMAGES, "WorkerLost", "SIGKILL") for epoch in range(1, epochs, 10))
    content = GalleryContent("run", epochs, epochs * EPOCH_IMAGES, history, faults, tuple(pictures))
    begun = time.perf_counter()
    page = build_page(content).encode()
    seconds = time.perf_counter() - begun
    (folder / "gallery.html").write_bytes(page)
    return len(page), seconds


def look(page: Page, file: Path) -> dict[str, Any]:
    """Open it, and look at its last column."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    begun = time.perf_counter()
    page.goto(file.as_uri())
    load_seconds, at_load = time.perf_counter() - begun, len(asked)
    begun = time.perf_counter()
    page.evaluate(TO_THE_END)
    page.evaluate(NEXT_FRAME)
    scroll_seconds = time.perf_counter() - begun
    page.wait_for_load_state("networkidle")
    return {
        "load_seconds": load_seconds,
        "pictures_asked_for_at_load": at_load - 1,
        "scroll_to_the_last_epoch_seconds": scroll_seconds,
        "pictures_asked_for_in_all": len(asked) - 1,
    }


if __name__ == "__main__":
    main()
