"""A real Chromium: the system's or Playwright's own; `python -m tests.browser.chromium` finds or installs one.

Invariant: where none can be found the tests fail and say what to do; none is ever skipped.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from axe_core_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ADVICE = "No Chromium: run `make test` as root, or `apt-get install chromium`, or name one in CHROMIUM."


def system_chromium() -> str | None:
    """Where the system's is; None leaves the choice to Playwright's own."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def launched() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=system_chromium(), args=ARGUMENTS)
        except Error as error:
            raise RuntimeError(f"{ADVICE}\n{error}") from error
        yield browser
        browser.close()


@contextmanager
def quiet_context(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A browser's profile whose pages must not log an error, least of all a breach of the content policy."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    context.set_default_timeout(10_000)
    errors: list[str] = []
    context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    context.close()
    assert [error for error in errors if "Failed to load resource" not in error] == []


class Axe:
    """Finds what accessibility rules are broken. Contrast, the dearest rule by far, is checked once in each theme for
    every style: elements are told apart by the classes, states and data of all that they stand in."""

    def __init__(self) -> None:
        self._seen: list[str] = []

    def violations(self, page: Page) -> list[Any]:
        """(theme, rule, up to three elements) of the page as it is shown."""
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.evaluate(AXE_SCRIPT)
        found = [("light", *each) for each in page.evaluate(_RUN, {"rules": _WITHOUT_CONTRAST})]
        new = page.evaluate(_MARK_NEW_STYLES, self._seen)
        self._seen += new
        if new:
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme, reduced_motion="reduce")
                found += [(theme, *each) for each in page.evaluate(_RUN, {"runOnly": list(_WITHOUT_CONTRAST)})]
            page.emulate_media(color_scheme="light", reduced_motion="reduce")
        return found


_WITHOUT_CONTRAST = {rule: {"enabled": False} for rule in ("color-contrast", "link-in-text-block")}
_RUN = """async (options) => {
    const marked = options.runOnly ? {include: [...document.querySelectorAll("[data-axe]")]} : document;
    const found = await axe.run(marked, {resultTypes: ["violations"], ...options});
    return found.violations.map((v) => [v.id, v.nodes.slice(0, 3).map((node) => node.html.slice(0, 160))]);
}"""
_MARK_NEW_STYLES = """(seen) => {
    const known = new Set(seen), added = [];
    const style = (e) => [e.localName, ...e.classList,
        ...[...e.attributes].filter((a) => /^(data-(wallet|status|for|theme)|aria-(current|invalid)|type|open|inert)$/
            .test(a.name)).map((a) => a.name + a.value), e.checked, e.disabled].join(".");
    const path = (e) => (e ? path(e.parentElement) + ">" + style(e) : "");
    for (const element of document.body.querySelectorAll("*")) {
        const speaks = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || "value" in element;
        const name = speaks && element.checkVisibility() && path(element);
        if (!name || known.has(name)) continue;
        known.add(name);
        added.push(name);
        element.dataset.axe = "";
    }
    return added;
}"""


def _install() -> int:
    if system_chromium() is not None:
        return 0
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing Debian's Chromium for the tests ...", flush=True)
        apt = ["apt-get", "-qq", "-y"]
        done = _run([*apt, "update"]) and _run([*apt, "install", "--no-install-recommends", "chromium"])
    else:
        print("Installing Playwright's Chromium for the tests ...", flush=True)
        done = _run([sys.executable, "-m", "playwright", "install", "chromium"])
    if not done:
        print(ADVICE, file=sys.stderr)
    return 0 if done else 1


def _run(command: Sequence[str]) -> bool:
    return subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(_install())
