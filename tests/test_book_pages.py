"""The built book as a browser sees it: nothing from elsewhere, no errors, formulas set, links good."""

import functools
import http.server
import json
import os
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

import geoae

pytestmark = pytest.mark.browser

SITE = Path(__file__).parents[1] / "book" / "_build" / "html"
PAGES = sorted(path.name for path in SITE.glob("*.html") if path.name != "index.html")


def _need(found, reason):
    """Skip where something is missing on a developer's machine; in CI a skipped check is a failed one."""
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def site():
    _need((SITE / "index.html").is_file(), f"no built book in {SITE}; run make book")
    return SITE


@pytest.fixture(scope="module")
def address(site):
    """Where a server of this test's own gives out the site."""
    handler = functools.partial(_Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(scope="module")
def browser(site):
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    _need(binary and driver, "no chromium and chromedriver on the PATH; install both to run the page tests")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    chrome.set_script_timeout(60)
    yield chrome
    chrome.quit()


def _open(browser, url, width=1280):
    """Load a page and wait until its formulas are set; what it asked for, and what it complained of."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for log in ("performance", "browser"):
        browser.get_log(log)  # forget the page before
    browser.get(url)
    browser.execute_async_script(
        "const done = arguments[0]; const ready = window.MathJax?.startup?.promise ?? Promise.resolve();"
        "ready.then(() => document.fonts.ready).then(() => setTimeout(done, 300));"
    )
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return asked, browser.get_log("browser")


def _leaves(url, home):
    """Whether a request goes to another site; chrome: and data: stay in the browser."""
    return urlsplit(url).scheme not in ("data", "blob", "chrome", "about") and not url.startswith(home)


@pytest.mark.parametrize("page", PAGES or ["index.html"])
def test_page_asks_for_nothing_elsewhere_and_has_no_error(browser, address, page):
    asked, said = _open(browser, f"{address}/{page}")
    assert f"{address}/{page}" in asked
    assert [url for url in asked if _leaves(url, address)] == []
    assert [entry["message"] for entry in said if entry["level"] in ("SEVERE", "WARNING")] == []


@pytest.mark.parametrize("page", PAGES or ["index.html"])
def test_page_works_by_double_click(browser, site, page):
    home = site.as_uri()
    asked, said = _open(browser, f"{home}/{page}")
    assert [url for url in asked if _leaves(url, home)] == []
    # Preloading a font from file:// is refused and reported; the font itself is loaded all the same.
    errors = [entry["message"] for entry in said if entry["level"] == "SEVERE"]
    assert [message for message in errors if "/_static/" not in message or "font" not in message] == []
    assert _formulas(browser)["raw"] == 0


@pytest.mark.parametrize("page", PAGES or ["index.html"])
def test_every_formula_is_set(browser, address, site, page):
    _open(browser, f"{address}/{page}")
    found = _formulas(browser)
    assert found["set"] == found["wanted"] == _math_nodes(site / page)
    assert found["raw"] == found["bad"] == 0


def _formulas(browser):
    """Formulas of a page: how many there should be, are set, are set with an error, and are still TeX."""
    return browser.execute_script(
        "const all = [...document.querySelectorAll('.bd-article .math')];"
        "return {wanted: all.length, set: all.filter(e => e.querySelector('mjx-container mjx-math')).length,"
        " bad: document.querySelectorAll('mjx-merror, [data-mjx-error]').length,"
        r" raw: all.filter(e => /\\\(|\\\[/.test(e.innerText)).length};"
    )


def _math_nodes(path):
    return sum("math" in (tag.get("class") or "").split() for tag in _Page(path).tags)


@pytest.mark.parametrize("page", PAGES or ["index.html"])
def test_nothing_overflows_a_telephone(browser, address, page):
    _open(browser, f"{address}/{page}", width=390)
    # What is wider than the screen must stand in a box of its own that scrolls.
    wide = browser.execute_script("""
        const screen = document.documentElement.clientWidth;
        const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
        const fits = e => e.getBoundingClientRect().right <= screen + 1;
        const held = e => e !== document.body && (scrolls(e) && fits(e) || held(e.parentElement));
        const parts = [...document.querySelectorAll('.bd-article-container *')];
        return {page: document.documentElement.scrollWidth - screen,
                parts: parts.filter(e => !fits(e) && !held(e)).map(e => e.outerHTML.slice(0, 80))};
    """)
    assert wide == {"page": 0, "parts": []}


@pytest.mark.parametrize("page", PAGES or ["index.html"])
def test_pictures_load_keep_their_shape_and_say_what_they_show(browser, address, page):
    _open(browser, f"{address}/{page}", width=390)
    pictures = browser.execute_script(
        "return [...document.querySelectorAll('.bd-article img')].map(e => ({"
        " alt: e.alt, loaded: e.naturalWidth > 0,"
        " stretch: (e.width / e.height) / (e.naturalWidth / e.naturalHeight)}))"
    )
    assert [
        p for p in pictures if not p["loaded"] or len(p["alt"]) < 20 or abs(p["stretch"] - 1) > 0.05
    ] == []


def test_search_finds_a_chapter(browser, address):
    _open(browser, f"{address}/search.html?q=transposed")
    browser.execute_async_script("setTimeout(arguments[0], 1500)")
    links = browser.execute_script(
        "return [...document.querySelectorAll('#search-results a')].map(e => e.href)"
    )
    assert any("transposed_convolution.html" in link for link in links)


# Where each chapter's explorer stands, and the model that it must agree with.
EXPLORERS = {"damped_oscillations": "oscillations"}
MOVE = """
    const [place, codes] = [document.querySelector('[data-live=latent-explorer]'), arguments[0]];
    const sliders = [...place.querySelectorAll('.live-latents input')], took = [];
    for (const code of codes) for (const slider of sliders) {
        const start = performance.now();
        slider.value = code[0];
        slider.dispatchEvent(new Event('input'));
        place.getBoundingClientRect();  // the new layout, not only the new numbers
        took.push(performance.now() - start);
    }
    return {decoded: codes.map(code => [...place.decode(code)]), took};
"""


@pytest.mark.parametrize(("page", "name"), EXPLORERS.items())
def test_explorer_decodes_as_torch_does_and_answers_within_a_frame(browser, address, site, page, name):
    model = geoae.load(site.parent / "live" / f"{name}.safetensors")
    z = np.random.default_rng(0).standard_normal((200, model.config["latent"]))
    _open(browser, f"{address}/{page}.html")
    answer = browser.execute_script(MOVE, z.tolist())
    decoded = geoae.latent.decode(model, z).values
    scale = max(1.0, abs(decoded).max())
    np.testing.assert_allclose(answer["decoded"], decoded.reshape(200, -1), atol=1e-5 * scale)
    assert np.median(answer["took"]) < 16  # milliseconds: one frame


@pytest.mark.parametrize("page", EXPLORERS)
def test_explorer_obeys_keys_dots_and_reset(browser, address, page):
    from selenium.webdriver.common.keys import Keys

    _open(browser, f"{address}/{page}.html")
    place = browser.find_element("css selector", "[data-live=latent-explorer]")
    picture = place.find_element("css selector", "svg[role=img]")
    at_rest = picture.get_attribute("aria-label")
    place.find_element("css selector", ".live-latents input").send_keys(Keys.ARROW_RIGHT * 5)
    assert "0.25" in picture.get_attribute("aria-label")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", place)
    place.find_elements("css selector", ".live-dot")[3].click()
    assert "rms difference" in place.find_element("css selector", ".live-readout").text
    place.find_element("css selector", ".live-button").click()
    assert picture.get_attribute("aria-label") == at_rest


class _Page(HTMLParser):
    """The tags of a page; among them its links and the anchors it offers."""

    def __init__(self, path):
        super().__init__()
        self.tags = []
        self.feed(path.read_text(encoding="utf-8"))
        self.anchors = {tag[key] for tag in self.tags for key in ("id", "name") if tag.get(key)}
        self.links = [tag[key] for tag in self.tags for key in ("href", "src") if tag.get(key)]

    def handle_starttag(self, tag, attrs):
        """Keep the attributes."""
        self.tags.append(dict(attrs))


def test_every_internal_link_and_anchor_leads_somewhere(site):
    pages = {path: _Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    assert len(pages) > 5
    bad, checked = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment = unquote(parts.fragment)
            if not target.exists() or (
                fragment and target in pages and fragment not in pages[target].anchors | {"", "top"}
            ):
                bad.append(f"{path.name}: {link}")
    assert bad == []
    assert checked > 100
