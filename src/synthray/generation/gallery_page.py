"""The gallery's HTML: rows of seeds by columns of epochs, under the loss that they belong to.

One page with its style inside and no script, so it opens from a disk or a bucket, years later, and its
Content-Security-Policy can forbid everything but its own pictures. Everything that comes out of a run is
escaped. Pure text: it must not know stores.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from synthray.generation.loss_curve import EpochPoint, Fault, build_loss_curve

_SMALL_PX = 128
_WEIGHTS = {"ema": "moving average (EMA)", "raw": "raw weights"}


@dataclass(frozen=True)
class Picture:
    """One preview; `path` is relative to the page, `weights` is ema or raw."""

    images_seen: int
    epoch: int
    weights: str
    seed: int
    path: str
    width_px: int
    height_px: int


@dataclass(frozen=True)
class GalleryContent:
    """All that the page shows; `epoch` and `images_seen` are those of the newest state."""

    run: str
    epoch: int
    images_seen: int
    history: tuple[EpochPoint, ...]
    faults: tuple[Fault, ...]
    pictures: tuple[Picture, ...]


def build_page(content: GalleryContent) -> str:
    """The whole page; equal content gives equal bytes."""
    room = files("synthray.generation")
    style = "".join(room.joinpath(name).read_text(encoding="utf-8") for name in ("look.css", "gallery.css"))
    title = escape(content.run)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(style)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{title}: gallery</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            '<a class="skip" href="#pictures">Skip to the pictures</a>',
            "<header>",
            f"<h1>{title}</h1>",
            f'<p class="quiet">{_standing(content)}</p>',
            "</header>",
            "<main>",
            *_build_loss(content),
            *_build_pictures(content.pictures),
            "</main>",
            *_build_footer(),
            "</body>",
            "</html>",
            "",
        ]
    )


def _policy(style: str) -> str:
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"img-src 'self'; style-src 'sha256-{digest}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _standing(content: GalleryContent) -> str:
    if not content.images_seen:
        return "Nothing has been saved yet."
    return f"Epoch {content.epoch:,}, {content.images_seen:,} images seen."


def _build_loss(content: GalleryContent) -> Iterator[str]:
    yield '<section aria-labelledby="loss">'
    yield '<h2 id="loss">Loss</h2>'
    curve = build_loss_curve(content.history, content.faults)
    if curve:
        yield '<figure><div class="scroll" tabindex="0" role="region" aria-label="Loss curve">'
        yield curve
        yield "</div><figcaption>"
        yield '<span class="key training">training</span>'
        if any(point.validation_loss for point in content.history):
            yield '<span class="key validation">held-out patients</span>'
        if content.faults:
            yield '<span class="key fault">something happened to the run</span>'
        yield "</figcaption></figure>"
        yield from _build_figures(content.history)
    else:
        yield "<p>No epoch has ended yet: the curve begins with the first one that was saved.</p>"
    if content.faults:
        yield from _build_faults(content.faults)
    yield "</section>"


def _build_figures(history: Sequence[EpochPoint]) -> Iterator[str]:
    yield '<details><summary>The figures</summary><div class="scroll"><table class="figures">'
    yield '<thead><tr><th scope="col">Epoch</th><th scope="col">Images seen</th>'
    yield '<th scope="col">Training</th><th scope="col">Held-out</th></tr></thead><tbody>'
    for point in history:
        yield (
            f'<tr><th scope="row">{point.epoch}</th><td>{point.images_seen:,}</td>'
            f"<td>{_loss(point.loss)}</td><td>{_loss(point.validation_loss)}</td></tr>"
        )
    yield "</tbody></table></div></details>"


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"  # noqa: RUF001 a dash for people


def _build_faults(faults: Sequence[Fault]) -> Iterator[str]:
    yield f"<details><summary>What happened to the run ({len(faults)})</summary>"
    yield '<div class="scroll"><table class="figures">'
    yield '<thead><tr><th scope="col">Images seen</th><th class="text" scope="col">What</th>'
    yield '<th class="text" scope="col">More</th></tr></thead><tbody>'
    for fault in faults:
        yield (
            f'<tr><td>{fault.images_seen:,}</td><td class="text">{escape(fault.kind)}</td>'
            f'<td class="text">{escape(fault.message)}</td></tr>'
        )
    yield "</tbody></table></div></details>"


def _build_pictures(pictures: Sequence[Picture]) -> Iterator[str]:
    yield '<section id="pictures" aria-labelledby="pictures-title">'
    yield '<h2 id="pictures-title">Pictures</h2>'
    if not pictures:
        yield "<p>No previews yet: the first are drawn when an epoch ends. "
        yield "The run's <code>previews</code> names their seeds.</p></section>"
        return
    kinds = [weights for weights in _WEIGHTS if any(picture.weights == weights for picture in pictures)]
    if len(kinds) > 1:
        yield "<fieldset><legend>Drawn by the</legend>"
        for weights in kinds:
            checked = " checked" if weights == "ema" else ""
            yield f'<label><input type="radio" name="weights" id="show-{weights}"{checked}>'
            yield f"{_WEIGHTS[weights]}</label>"
        yield "</fieldset>"
    yield '<p class="quiet" id="reading">One row for each seed, one column for each epoch. '
    yield "Choose a picture to see it alone.</p>"
    yield '<div class="scroll" tabindex="0" role="region" aria-labelledby="pictures-title">'
    yield '<table class="pictures" aria-describedby="reading">'
    yield from _build_table(pictures, kinds)
    yield "</table></div></section>"


def _build_table(pictures: Sequence[Picture], kinds: Sequence[str]) -> Iterator[str]:
    columns = sorted({(picture.images_seen, picture.epoch) for picture in pictures})
    by_place = {(picture.images_seen, picture.seed, picture.weights): picture for picture in pictures}
    yield '<thead><tr><th scope="col">Seed</th>'
    for images_seen, epoch in columns:
        yield f'<th scope="col">Epoch {epoch:,} <small>{images_seen:,} images</small></th>'
    yield "</tr></thead><tbody>"
    for seed in sorted({picture.seed for picture in pictures}):
        yield f'<tr><th scope="row">{seed}</th>'
        for images_seen, _ in columns:
            yield "<td>" + "".join(_cell(by_place, images_seen, seed, weights) for weights in kinds) + "</td>"
        yield "</tr>"
    yield "</tbody>"


def _cell(by_place: Mapping[tuple[int, int, str], Picture], images_seen: int, seed: int, weights: str) -> str:
    picture = by_place.get((images_seen, seed, weights))
    if picture is None:
        return f'<span class="none {weights}">none</span>'
    small = ' class="small"' if picture.width_px <= _SMALL_PX else ""
    alt = f"Synthetic image of seed {seed} after epoch {picture.epoch}, {_WEIGHTS[weights]}"
    size = f'width="{picture.width_px}" height="{picture.height_px}"'
    path = escape(picture.path)
    return (
        f'<a class="{weights}" href="{path}">'
        f'<img{small} src="{path}" {size} loading="lazy" decoding="async" alt="{alt}"></a>'
    )


def _build_footer() -> Iterator[str]:
    yield "<footer>"
    yield "<p>Synthetic images, made by a model; not for diagnosis.</p>"
    yield "<p>Each PNG says in itself how it was made; <code>synthray verify picture.png</code> makes it "
    yield "again and compares.</p>"
    yield "</footer>"
