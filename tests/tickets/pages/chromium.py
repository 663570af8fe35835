"""Chromium without a window, and a checker of accessibility for it; skipped where they are not.

``SPROCKETS_TEST_CHROMIUM`` and ``SPROCKETS_TEST_CHROMEDRIVER`` say where Debian's packages
``chromium`` and ``chromium-driver`` are; ``SPROCKETS_TEST_AXE`` where ``axe.min.js`` of the npm
package ``axe-core`` is, which is fetched with npm otherwise, and kept in pytest's cache.
"""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.services import require

CHROMIUM = os.environ.get("SPROCKETS_TEST_CHROMIUM", "/usr/bin/chromium")
CHROMEDRIVER = os.environ.get("SPROCKETS_TEST_CHROMEDRIVER", "/usr/bin/chromedriver")
AXE_CORE = "axe-core@4.14.1"
LIMIT = 45  # seconds

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1"),
)


def start(folder):
    """Return a browser with an empty profile in *folder*."""
    for path in (CHROMIUM, CHROMEDRIVER):
        require(
            Path(path).exists(),
            f"no {path}; install Debian's chromium and chromium-driver, or set"
            " SPROCKETS_TEST_CHROMIUM and SPROCKETS_TEST_CHROMEDRIVER",
        )
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        require(False, "selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    driver.set_page_load_timeout(LIMIT)
    driver.set_script_timeout(LIMIT)
    return driver


def wait(driver, script, *arguments):
    """Wait until *script* returns something true in the page, and return it."""
    from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
    from selenium.webdriver.support.wait import WebDriverWait

    def look(driver):
        try:
            return driver.execute_script(f"return {script}", *arguments)
        except (JavascriptException, StaleElementReferenceException):
            return None  # a page is on its way out

    return WebDriverWait(driver, LIMIT, 0.05).until(look, script)


WIDE, NARROW = (1280, 900), (390, 844)
_OF_COLOURS = ("color-contrast", "link-in-text-block")
"""Rules of axe-core that look at colours, which are all that another scheme changes."""


def look(driver, size, scheme="light", motion="no-preference"):
    """Have the window that size, and the system prefer that scheme."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size is NARROW},
    )
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": name, "value": value} for name, value in features.items()]},
    )


class Checker:
    """Looks at a page that is loaded once, at both widths and in both schemes.

    Args:
        driver: The browser.
        axe: Source of the checker of accessibility.
    """

    def __init__(self, driver, axe):
        self._driver = driver
        # No page has to be sent it.
        self._script = driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument", {"source": axe}
        )["identifier"]

    def close(self):
        """Leave pages alone again."""
        self._driver.execute_cdp_cmd(
            "Page.removeScriptToEvaluateOnNewDocument", {"identifier": self._script}
        )
        look(self._driver, WIDE)

    def find(self):
        """Return what is wrong: serious and critical violations, colours, and what is too wide."""
        found = []
        for size in (WIDE, NARROW):
            for scheme in ("light", "dark"):
                look(self._driver, size, scheme, "reduce")
                where = f"{size[0]} {scheme}"
                rules = _OF_COLOURS if scheme == "dark" else ()
                found += [(where, *each) for each in self._violations(rules)]
                found += [(where, each) for each in self._misfits(size[0], scheme)]
        return found

    def _violations(self, rules):
        options = {"resultTypes": ["violations"]}
        if rules:
            options["runOnly"] = {"type": "rule", "values": list(rules)}
        found = self._driver.execute_async_script(
            "const done = arguments[1];"
            # One frame later the styles are those of the new size and scheme.
            "requestAnimationFrame(() => requestAnimationFrame(() =>"
            " axe.run(document, arguments[0]).then(found => done(found.violations))));",
            options,
        )
        return [
            (each["id"], [node["html"][:120] for node in each["nodes"]])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]

    def _misfits(self, most, scheme):
        ground, ink, width = self._driver.execute_script(
            "const of = getComputedStyle(document.body);"
            "const light = text => { const c = document.createElement('canvas').getContext('2d');"
            " c.fillStyle = text; c.fillRect(0, 0, 1, 1);"
            " const [r, g, b] = c.getImageData(0, 0, 1, 1).data; return r + g + b; };"
            "return [light(of.backgroundColor), light(of.color),"
            " document.documentElement.scrollWidth]"
        )
        dark, light = (ground, ink) if scheme == "dark" else (ink, ground)
        if dark >= 150 or light <= 600:
            yield "the colours are not those of the scheme"
        # Not innerWidth: a phone shows more of a page that is too wide.
        if width > most:
            yield f"wider than the window: {width}"


def find_axe(folder):
    """Return the source of axe-core; *folder* is where it may be kept."""
    path = os.environ.get("SPROCKETS_TEST_AXE")
    if path:
        return Path(path).read_text()
    kept = folder / "package" / "axe.min.js"
    if not kept.exists():
        npm = shutil.which("npm")
        require(npm, "no axe-core: set SPROCKETS_TEST_AXE to its axe.min.js, or install npm")
        done = subprocess.run(
            [npm, "pack", "--silent", AXE_CORE],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        require(done.returncode == 0, f"cannot fetch {AXE_CORE}: {done.stderr[-200:]}")
        with tarfile.open(folder / done.stdout.split()[-1]) as archive:
            archive.extract("package/axe.min.js", folder, filter="data")
    return kept.read_text()
