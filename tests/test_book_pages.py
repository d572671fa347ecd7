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
    chrome.set_script_timeout(200)  # axe reads the API page, the longest
    yield chrome
    chrome.quit()


def _open(browser, url, width=1280):
    """Load a page and wait until its formulas are set; what it asked for, and what it complained of."""
    _resize(browser, width)
    for log in ("performance", "browser"):
        browser.get_log(log)  # forget the page before
    browser.get(url)
    browser.execute_async_script(
        "document.documentElement.style.scrollBehavior = 'auto';"  # else clicks hit a page that still glides
        "const done = arguments[0]; const ready = window.MathJax?.startup?.promise ?? Promise.resolve();"
        "ready.then(() => document.fonts.ready).then(() => setTimeout(done, 300));"
    )
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return asked, browser.get_log("browser")


def _resize(browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _leaves(url, home):
    """Whether a request goes to another site; chrome: and data: stay in the browser."""
    return urlsplit(url).scheme not in ("data", "blob", "chrome", "about") and not url.startswith(home)


AXE = """
    const done = arguments[0];
    axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(found => done(
        found.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).join(' | '))));
"""
OVERFLOW = """
    const screen = document.documentElement.clientWidth;
    const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
    const fits = e => e.getBoundingClientRect().right <= screen + 1;
    // What is wider than the screen must stand in a box of its own that scrolls; a drawing clips itself.
    const clips = e => scrolls(e) || e.matches('svg');
    const held = e => e !== document.body && (clips(e) && fits(e) || held(e.parentElement));
    const parts = [...document.querySelectorAll('.bd-article-container *')];
    return {page: document.documentElement.scrollWidth - screen,
            parts: parts.filter(e => !fits(e) && !held(e)).map(e => e.outerHTML.slice(0, 80))};
"""
PICTURES = """
    return [...document.querySelectorAll('.bd-article img')].map(e => ({
        alt: e.alt, loaded: e.naturalWidth > 0,
        stretch: (e.width / e.height) / (e.naturalWidth / e.naturalHeight)}));
"""


@pytest.fixture(scope="module", params=PAGES or ["index.html"])
def seen(request, browser, address, site):
    """All that one visit to a page tells: at a desk by day and by night, on a telephone, by double click."""
    page = request.param
    asked, said = _open(browser, f"{address}/{page}")
    found = {"url": f"{address}/{page}", "path": site / page, "asked": asked, "said": said}
    found["formulas"] = _formulas(browser)
    browser.execute_script(_axe())
    found["by day"] = browser.execute_async_script(AXE)
    _night(browser, "dark")
    found["by night"] = browser.execute_async_script(AXE)
    _night(browser, "light")
    _resize(browser, 390)
    found |= {"overflow": browser.execute_script(OVERFLOW), "pictures": browser.execute_script(PICTURES)}
    found["asked of files"], found["said of files"] = _open(browser, f"{site.as_uri()}/{page}")
    found["raw in files"] = _formulas(browser)["raw"]
    return found


@functools.cache
def _axe():
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is missing; make test installs it")
    return (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def _night(browser, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.execute_async_script("setTimeout(arguments[0], 1500)")  # colours fade, late on a busy machine


def test_page_asks_for_nothing_elsewhere_and_has_no_error(seen, address):
    assert seen["url"] in seen["asked"]
    assert [url for url in seen["asked"] if _leaves(url, address)] == []
    assert [entry["message"] for entry in seen["said"] if entry["level"] in ("SEVERE", "WARNING")] == []


def test_page_works_by_double_click(seen, site):
    assert [url for url in seen["asked of files"] if _leaves(url, site.as_uri())] == []
    # Preloading a font from file:// is refused and reported; the font itself is loaded all the same.
    errors = [entry["message"] for entry in seen["said of files"] if entry["level"] == "SEVERE"]
    assert [message for message in errors if "/_static/" not in message or "font" not in message] == []
    assert seen["raw in files"] == 0


def test_every_formula_is_set(seen):
    found = seen["formulas"]
    assert found["set"] == found["wanted"] == _math_nodes(seen["path"])
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


@pytest.mark.parametrize("when", ["by day", "by night"])
def test_everybody_can_read_it(seen, when):
    assert seen[when] == []  # WCAG 2.1 A and AA, as far as a machine can tell


def test_nothing_overflows_a_telephone(seen):
    assert seen["overflow"] == {"page": 0, "parts": []}


def test_pictures_load_keep_their_shape_and_say_what_they_show(seen):
    pictures = seen["pictures"]
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
EXPLORERS = {"damped_oscillations": "oscillations", "lines": "lines", "seismic_denoising": "seismograms"}
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
    place.find_elements("css selector", ".live-dot")[-1].click()  # the topmost where dots overlap
    assert "rms difference" in place.find_element("css selector", ".live-readout").text
    place.find_element("css selector", ".live-button").click()
    assert picture.get_attribute("aria-label") == at_rest


def _set(browser, kind, *values):
    """Move the sliders of a live figure, in their order; what it says then."""
    return browser.execute_script(
        """
        const place = document.querySelector(`[data-live=${arguments[0]}]`);
        place.querySelectorAll('input').forEach((slider, i) => {
            slider.value = arguments[1][i];
            slider.dispatchEvent(new Event('input'));
        });
        return place.querySelector('.live-readout').textContent.replaceAll('−', '-');
        """,
        kind,
        values,
    )


def test_sliding_matrix_convolves_as_numpy_does(browser, address):
    _open(browser, f"{address}/transposed_convolution.html")
    x, kernel = [2, 1, 0, 3, 1, 2, 0, 1], [1, 2, -1]
    for row, stride in ((2, 1), (3, 2)):
        y = np.correlate(x, kernel, "valid")[::stride]
        said = _set(browser, "sliding-matrix", row, stride, 0)
        assert f"= {y[row - 1]}. 8 samples become {len(y)}." in said


def test_divergence_of_two_dragged_gaussians_is_that_of_torch(browser, address):
    from torch.distributions import Normal, kl_divergence

    _open(browser, f"{address}/probability.html")
    said = _set(browser, "gaussian-divergence", -2.0, 0.5, 1.5, 2.0)
    q, p = Normal(-2.0, 0.5), Normal(1.5, 2.0)
    wanted = f"KL(q ‖ p) = {kl_divergence(q, p):.2f} nats, KL(p ‖ q) = {kl_divergence(p, q):.2f} nats."
    assert said == wanted


def test_price_of_an_activity_is_that_of_torch(browser, address):
    from torch.distributions import Bernoulli, kl_divergence

    _open(browser, f"{address}/regularised.html")
    said = _set(browser, "sparsity-penalty", 0.1, 0.4)
    assert f"{kl_divergence(Bernoulli(0.1), Bernoulli(0.4)):.3f} nats" in said
    assert "training pushes the activation down" in said


def test_noise_slider_adds_what_it_says(browser, address, site):
    _open(browser, f"{address}/seismic_denoising.html")
    levels = json.loads((site.parent / "live" / "event.json").read_text())["snr_db"]
    said = [_set(browser, "noise-level", i) for i in range(len(levels))]
    assert [words.split(" in, ")[0] for words in said] == [f"{level} dB" for level in levels]
    after = [float(words.split(" in, ")[1].split(" ")[0]) for words in said]
    assert after[0] > levels[0] + 3  # the network helps where noise is strong
    assert sorted(after) == after


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
