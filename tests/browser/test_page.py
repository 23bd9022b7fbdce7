"""The page in a real browser: headless Chromium, driven by Playwright.

Skipped where either is missing: ``apt-get install chromium`` and ``pip install playwright``. The findings of
axe-core are looked for if ``AXE_CORE`` names its ``axe.min.js``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra server is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("there is no Chromium", allow_module_level=True)

import uvicorn  # noqa: E402

from lfm2_retrieval import Retriever, documents  # noqa: E402
from lfm2_retrieval.server import KeyFile, ServerOptions, create_app  # noqa: E402

PAYLOAD = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"
ROWS = [
    {"id": "bridge", "title": "Stone arches", "text": "Romans built bridges of stone.", "lang": "en"},
    {
        "id": "brot",
        "title": "Brot",
        "text": "Brot wird aus Mehl und Wasser gebacken. 🍞🍞 " * 40,
        "lang": "de",
    },
    {"id": "jisr", "title": "جسر", "text": "بنى الرومان جسورا من الحجر لا تزال قائمة", "lang": "ar"},
    {"id": "hashi", "title": "石橋", "text": "ローマ人は石で橋を建てました。", "lang": "ja"},
    {"id": "up/../hashi", "title": "Above", "text": "An id that climbs.", "lang": "en", "__proto__": "own"},
    {"id": "..", "title": "Two dots", "text": "An id of two dots.", "lang": "en", "__proto__": "other"},
    {"id": PAYLOAD, "title": PAYLOAD, "text": f"a bridge {PAYLOAD} javascript:alert(1)", "lang": PAYLOAD},
]


@contextmanager
def served(retriever: Retriever, options: ServerOptions) -> Iterator[str]:
    """The address of a server."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(retriever, options), log_level="error"))
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a server that may be written to, and a key for it."""
    folder = tmp_path_factory.mktemp("site")
    keys = KeyFile(folder / "keys.json")
    secret, _ = keys.add("test", write=True)
    options = ServerOptions(writable=True, keys=str(keys.path))
    with (
        Retriever.index(ROWS, folder / "index", model="nano", fields=["lang"]) as retriever,
        served(retriever, options) as address,
    ):
        yield address, secret


@pytest.fixture(scope="module")
def split_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on an index of passages."""
    folder = tmp_path_factory.mktemp("split")
    sections = "".join(f"## Arch {n}\n\nRomans built bridge {n} of stone.\n\n" for n in range(6))
    (folder / "bridges.md").write_text(f"# Stone bridges\n\n{sections}", encoding="utf-8")
    (folder / "bread.md").write_text("# Bread\n\nYeast makes dough rise.\n", encoding="utf-8")
    passages = documents.Passages(tokens=32)
    with (
        Retriever.index(documents.read(folder), model="nano", passages=passages) as retriever,
        served(retriever, ServerOptions()) as address,
    ):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, site: tuple[str, str]) -> Iterator[Any]:
    """A page that fails the test on any error in it, and on whatever it loads from elsewhere."""
    context = browser.new_context(base_url=site[0])
    made = context.new_page()
    made.set_default_timeout(60_000)
    wrong: list[str] = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("dialog", lambda dialog: wrong.append(dialog.message))
    made.on("request", lambda request: request.url.startswith(site[0]) or wrong.append(request.url))
    yield made
    context.close()
    assert wrong == []


def ask(page: Any, query: str) -> None:
    page.goto("/")
    page.get_by_label("Search for").fill(query)
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")


def test_a_search_shows_what_matched(page: Any) -> None:
    ask(page, "bridges of stone")
    assert not page.get_by_label("Documents").is_visible()  # there is nothing to choose
    first = page.locator(".hit").first
    assert first.locator("h2").inner_text() == "Stone arches"
    marks = first.locator("mark").all_inner_texts()
    assert {"bridges", "stone"} <= {mark.lower() for mark in marks}
    assert "hits in" in page.locator("#status").inner_text()


@pytest.mark.parametrize(("id", "title"), [("up/../hashi", "Above"), ("..", "Two dots"), ("hashi", "石橋")])
def test_a_document_is_shown_by_its_own_id(page: Any, id: str, title: str) -> None:
    page.goto(f"/?doc={id}")
    page.wait_for_selector(".whole")
    assert page.locator("h1").inner_text() == title


def test_a_field_may_have_any_name(page: Any) -> None:
    page.goto("/?q=an+id&f.__proto__=%22own%22")
    page.wait_for_selector(".hit")
    assert page.locator(".hit h2").all_inner_texts() == ["Above"]


def test_a_word_lights_up_its_matches_and_the_reverse(page: Any) -> None:
    ask(page, "bridges of stone")
    page.locator(".word", has_text="bridges").hover()
    assert "bridges" in page.locator(".hit").first.locator("mark.on").all_inner_texts()
    page.locator(".hit").first.locator("mark", has_text=re.compile("stone", re.IGNORECASE)).first.hover()
    assert page.locator(".word.on").all_inner_texts() == ["stone"]
    page.locator(".word", has_text="bridges").click()
    page.mouse.move(0, 0)
    assert page.locator(".word[aria-pressed=true]").all_inner_texts() == ["bridges"]
    page.keyboard.press("Escape")
    assert page.locator(".word.on").count() == 0


def test_why_adds_up_to_the_score(page: Any) -> None:
    ask(page, "bridges of stone")
    first = page.locator(".hit").first
    score = float(first.locator(".facts span").first.inner_text().split()[0])
    first.get_by_role("button", name="Why").click()
    parts = [float(one) for one in first.locator(".parts .number").all_inner_texts()]
    assert sum(parts) == pytest.approx(score, abs=0.01)


def test_documents_are_text_and_never_run(page: Any) -> None:
    ask(page, "javascript alert")
    hit = page.locator(".hit", has_text="javascript:alert").first
    assert PAYLOAD in hit.locator("h2").inner_text()
    assert page.locator("#view img, #view script").count() == 0
    hit.locator("h2 a").click()
    page.wait_for_selector(".whole")
    assert PAYLOAD in page.locator(".whole h1").inner_text()
    assert page.locator("#view img, #view script").count() == 0
    assert "hacked" not in page.title().replace(PAYLOAD, "")


def test_filters_and_the_address(page: Any) -> None:
    ask(page, "bridge")
    page.get_by_label("lang").select_option('"ja"')
    sync_api.expect(page.locator(".hit")).to_have_count(1)
    assert page.locator(".hit h2").inner_text() == "石橋"
    address = page.url
    page.go_back()
    sync_api.expect(page.locator(".hit").nth(1)).to_be_visible()
    page.goto(address)
    page.wait_for_selector(".hit")
    assert page.locator(".hit h2").all_inner_texts() == ["石橋"]
    assert page.get_by_label("lang").input_value() == '"ja"'


def test_passages_or_documents(browser: Any, split_site: str) -> None:
    context = browser.new_context(base_url=split_site)
    page = context.new_page()
    page.set_default_timeout(60_000)
    ask(page, "who built bridges of stone?")
    assert page.locator(".hit").count() > 2
    assert "passages in" in page.locator("#status").inner_text()
    first = page.locator(".hit").first
    assert first.locator("h2").inner_text().startswith("Arch")
    assert "##" not in first.locator(".passage").inner_text()
    assert first.locator(".place").inner_text().startswith("bridges.md, line")
    page.set_viewport_size({"width": 640, "height": 300})
    page.evaluate("scrollTo(0, 500)")
    header, ribbon = page.locator(".top").bounding_box(), page.locator("#ribbon").bounding_box()
    assert ribbon["y"] == pytest.approx(header["y"] + header["height"], abs=1)
    page.get_by_label("Passages").focus()
    page.keyboard.press("ArrowRight")
    sync_api.expect(page.locator(".hit")).to_have_count(2)
    assert "2 documents in" in page.locator("#status").inner_text()
    assert "more in this document" in page.locator(".hit").first.inner_text()
    assert "by=document" in page.url
    page.reload()
    sync_api.expect(page.locator(".hit")).to_have_count(2)
    assert page.get_by_label("Documents").is_checked()
    page.go_back()
    sync_api.expect(page.locator(".hit").nth(2)).to_be_visible()
    assert page.get_by_label("Passages").is_checked()
    context.close()


def test_the_back_button_leaves_a_document(page: Any) -> None:
    ask(page, "bridges of stone")
    page.locator(".hit h2 a").first.click()
    page.wait_for_selector(".whole")
    assert page.locator(".whole mark").count() > 0
    page.go_back()
    page.wait_for_selector(".hit")
    assert page.get_by_label("Search for").input_value() == "bridges of stone"


def test_all_of_it_by_keyboard(page: Any) -> None:
    page.goto("/")
    page.wait_for_selector(".empty h1")
    page.keyboard.press("/")
    page.keyboard.type("Brot backen")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")
    page.locator("#query").focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.word')"):
            break
    assert page.locator("mark.on").count() > 0
    for _ in range(40):
        if page.evaluate("document.activeElement.matches('.hit h2 a')"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".whole")


def test_a_long_text_shows_where_it_matches(page: Any) -> None:
    ask(page, "Brot aus Mehl")
    hit = page.locator(".hit", has_text="Mehl").first
    assert len(hit.locator(".passage").inner_text()) < 900
    hit.get_by_role("button", name="Show all of it").click()
    assert len(hit.locator(".passage").inner_text()) > 1500
    assert "Mehl" in hit.locator(".passage mark").all_inner_texts()  # behind characters of two units


def test_right_to_left_text_runs_so(page: Any) -> None:
    ask(page, "جسور من الحجر")
    direction = "getComputedStyle(document.querySelector('.hit .passage')).direction"
    assert page.locator(".hit h2").first.inner_text() == "جسر"
    assert page.evaluate(direction) == "rtl"


def test_nothing_found_and_nothing_asked(page: Any) -> None:
    page.goto("/?q=xyzzy&mode=lexical")
    page.wait_for_selector(".empty")
    assert "Nothing was found" in page.locator(".empty").inner_text()
    page.goto("/?q=%20&k=-5&mode=none&f.lang=%7B")
    page.wait_for_selector(".empty h1")


def test_an_error_is_said(page: Any) -> None:
    page.goto("/?doc=nothing")
    page.wait_for_selector(".status.bad")
    assert "no document" in page.locator("#status").inner_text()


def test_files_are_added_with_a_key(page: Any, site: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "zebra.md").write_text("# Zebra\n\nStripes confuse horse flies.", encoding="utf-8")
    page.goto("/")
    page.get_by_role("button", name="Add files").click()
    page.get_by_role("textbox", name="Key").fill(site[1])
    page.get_by_role("button", name="Use").click()
    page.locator("#files").set_input_files(tmp_path / "zebra.md")
    page.get_by_role("button", name="Add", exact=True).click()
    sync_api.expect(page.locator("#upload-status")).to_contain_text("Added", timeout=60_000)
    page.get_by_role("button", name="Close").click()
    ask(page, "stripes of a zebra")
    assert "Zebra" in page.locator(".hit").first.inner_text()


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    ask(page, "bridge")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.skipif("AXE_CORE" not in os.environ, reason="AXE_CORE names no axe.min.js")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "view", ["/", "/?q=bridges", "/?q=bridges&doc=bridge", "/?q=xyzzy&mode=lexical", "/?doc=none"]
)
def test_axe_finds_nothing_serious(browser: Any, site: tuple[str, str], view: str, scheme: str) -> None:
    assert findings(browser, site[0], view, scheme) == []


@pytest.mark.skipif("AXE_CORE" not in os.environ, reason="AXE_CORE names no axe.min.js")
@pytest.mark.parametrize("view", ["/?q=bridges&by=document", "/?q=bridges&doc=bridges.md"])
def test_axe_finds_nothing_serious_where_documents_are_split(
    browser: Any, split_site: str, view: str
) -> None:
    assert findings(browser, split_site, view, "dark") == []


def findings(browser: Any, address: str, view: str, scheme: str) -> list[tuple[str, str]]:
    """What axe-core finds that is serious, or worse."""
    context = browser.new_context(base_url=address, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(view)
    page.wait_for_selector(".hit, .whole, .empty, .status.bad")
    for button in page.get_by_role("button", name="Why").all()[:1]:
        button.click()
    page.add_script_tag(path=os.environ["AXE_CORE"])
    found = page.evaluate("axe.run()")["violations"]
    context.close()
    return [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
