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


def find_violations(driver, axe):
    """Return what the checker *axe* finds serious or critical in the page: rules and elements."""
    found = driver.execute_async_script(
        axe + "; const done = arguments[0];"
        "axe.run(document, {resultTypes: ['violations']}).then(found => done(found.violations));"
    )
    return [
        (each["id"], [node["html"][:120] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


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
