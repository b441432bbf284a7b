"""The page for people, in a real Chromium, over a real service."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from served import MODEL_NAME, SETTINGS, build_app, listening, load_tiny_model, tiny_service

from synthray.generation.generator import Generator
from synthray.generation.images import ReceiptBook
from synthray.generation.preview_names import PreviewName
from synthray.generation.profile import STRICT_1
from synthray.generation.receipts import PreviewOrigin
from synthray.serving.preview_shelf import PreviewShelf
from synthray.storage import ObjectStore, S3Settings, open_store

PATIENCE_MILLISECONDS = 60_000
EPOCHS = {100: 1, 200: 2, 300: 3}
KEY = "a-token-of-20-letters"
PHONE = {"width": 360, "height": 740}


def draw_previews(run: ObjectStore) -> None:
    loaded = load_tiny_model()
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, STRICT_1)
    for images_seen, epoch in EPOCHS.items():
        origin = PreviewOrigin(run="tiny", images_seen=images_seen, epoch=epoch, weights="ema")
        book = ReceiptBook(loaded.identity, "ddim", epoch, "strict-1", {}, origin)
        for image in generator.generate([1, 2], "ddim", epoch):
            key = PreviewName(images_seen, "ema", image.seed).picture_key
            run.write(key, book.files(image).png)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    run = open_store(str(tmp_path_factory.mktemp("run")), S3Settings())
    draw_previews(run)
    limits = dataclasses.replace(SETTINGS.limits, max_queued_images=64)
    with (
        tiny_service(dataclasses.replace(SETTINGS, limits=limits)) as service,
        listening(build_app(service, shelf=PreviewShelf(run))) as url,
    ):
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "Chromium is missing: install Debian's package `chromium`"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages; at the end none may have complained, or asked anybody but the service."""
    complaints: list[str] = []
    contexts = []

    def open_one(address: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        expect.set_options(timeout=PATIENCE_MILLISECONDS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda one: complaints.append(one.text) if _is_complaint(one) else None)
        own = address.split("/", 3)[2]
        page.on("request", lambda one: None if own in one.url else complaints.append(one.url))
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def _is_complaint(message: ConsoleMessage) -> bool:
    # What the service refuses is the page's business, and the browser tells of it all the same.
    return message.type in ("error", "warning") and "Failed to load resource" not in message.text


def pictures(page: Page) -> Any:
    return page.locator("#grid img")


def look_at(page: Page, name: str) -> None:
    """Leave a picture for people beside the test's other files."""
    folder = Path(".cache/page")
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def require_accessible(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_a_seed_by_hand_fills_the_grid_and_the_address_leads_back_to_it(
    url: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(url)
    expect(page.get_by_label("Steps")).to_have_value("3")
    page.get_by_role("spinbutton", name="Seed").fill("7")
    page.get_by_role("spinbutton", name="Images").fill("6")
    page.get_by_role("button", name="Draw").click()
    expect(page.get_by_role("status").first).to_have_text("6 of 6 drawn")
    assert pictures(page).count() == 6
    assert "seed=7" in page.url
    hashes = page.locator("#grid code").all_text_contents()
    again = open_page(page.url)
    expect(again.get_by_role("status").first).to_have_text("6 of 6 drawn")
    assert again.locator("#grid code").all_text_contents() == hashes
    tag = requests.get(f"{url}/v1/images/latest/ddim/3/7.png", timeout=60).headers["ETag"]
    assert tag.strip('"').startswith(hashes[0])
    page.get_by_role("button", name="Seeds after").click()
    expect(page).to_have_url(f"{url}/?seed=13&n=6&steps=3&sampler=ddim")
    page.go_back()
    expect(page.locator("#grid figcaption").first).to_contain_text("Seed 7")


def test_an_image_is_downloaded_with_its_receipt_and_verifies_when_dropped(
    url: str, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    page = open_page(f"{url}/?seed=3&n=1&steps=2&sampler=ddpm")
    with page.expect_download() as download:
        page.get_by_label("Download seed 3").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == f"{MODEL_NAME}-ddpm-2-3.png"
    page.get_by_label("A PNG of ours").set_input_files(path)
    expect(page.locator("#verdict p")).to_contain_text("verified. It is seed 3 of this model")
    data = page.evaluate_handle(
        "bytes => { const dropped = new DataTransfer();"
        " dropped.items.add(new File([new Uint8Array(bytes)], 'x.png')); return dropped; }",
        list(path.read_bytes()[:100]),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    expect(page.locator("#verdict p.bad")).to_contain_text("the body cannot be read as a PNG")


def test_it_works_by_keyboard_alone(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(url)
    expect(page.get_by_label("Steps")).to_have_value("3")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the images")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("11")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("4 of 4 drawn")
    page.get_by_label("Epoch").focus()
    expect(page.locator("#lapse-standing")).to_have_text("Epoch 3, 300 images seen")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#lapse-standing")).to_have_text("Epoch 2, 200 images seen")


def test_a_seed_is_shown_over_the_runs_epochs(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(url)
    image = page.locator("#lapse-image")
    expect(image).to_have_attribute("alt", "Synthetic image of seed 1 after epoch 3")
    page.get_by_role("combobox", name="Seed").select_option("2")
    page.get_by_label("Epoch").fill("0")
    expect(image).to_have_attribute("alt", "Synthetic image of seed 2 after epoch 1")
    page.get_by_role("button", name="Play").click()
    expect(image).to_have_attribute("alt", "Synthetic image of seed 2 after epoch 2")
    page.get_by_role("button", name="Pause").click()


def test_stop_leaves_what_is_drawn_and_draws_no_more(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/?seed=1&n=200&steps=100")
    expect(pictures(page).first).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status").first).to_contain_text("Stopped")
    assert 0 < pictures(page).count() < 200


def test_what_is_refused_is_said_in_the_services_words(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/?seed=1&n=1&steps=1&sampler=dpmsolver%2B%2B")
    expect(page.get_by_role("status").first).to_have_text("1 of 1 drawn")
    page.evaluate("document.getElementById('steps').max = 100000")
    page.get_by_label("Steps").fill("501")
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#standing.trouble")).to_contain_text("steps=501 is above 500")


def test_where_a_token_is_wanted_the_page_asks_for_it(open_page: Callable[..., Page], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(KEY)
    with (
        tiny_service(dataclasses.replace(SETTINGS, token_file=str(file))) as service,
        listening(build_app(service)) as url,
    ):
        page = open_page(f"{url}/?seed=1&n=2&steps=1")
        field = page.get_by_label("Token of this service")
        field.fill("another one altogether")
        page.get_by_role("button", name="Use it").click()
        expect(field).to_have_value("")
        field.fill(KEY)
        require_accessible(page)
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_role("status").first).to_have_text("2 of 2 drawn")
        expect(page.locator("#lapse")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["desk", "phone"])
def test_it_is_accessible_in_light_and_dark_on_a_desk_and_a_phone(
    url: str, open_page: Callable[..., Page], scheme: str, width: str
) -> None:
    options: dict[str, Any] = {"color_scheme": scheme}
    if width == "phone":
        options |= {"viewport": PHONE, "has_touch": True, "is_mobile": True}
    page = open_page(f"{url}/?seed=40&n=4&steps=3", **options)
    expect(page.get_by_role("status").first).to_have_text("4 of 4 drawn")
    expect(page.locator("#lapse-image")).to_have_attribute("alt", "Synthetic image of seed 1 after epoch 3")
    page.get_by_label("A PNG of ours").set_input_files(
        {"name": "foreign.png", "mimeType": "image/png", "buffer": b"no"}
    )
    expect(page.locator("#verdict p.bad")).to_be_visible()
    look_at(page, f"{width}-{scheme}")
    require_accessible(page)
    # A phone widens its layout to what does not fit, so it is measured against the screen.
    assert page.viewport_size is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_nothing_but_its_own_files_may_be_loaded(url: str) -> None:
    answer = requests.get(url, timeout=60)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    assert requests.get(f"{url}/static/../http.py", timeout=60).status_code == 404
