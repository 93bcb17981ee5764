"""Takes a picture of every page: `python -m tests.dashboard.screenshots DIRECTORY [NAME…]`.

Serves the rendered fixtures on loopback and photographs each in light, in dark and at phone width.
"""

import sys
from pathlib import Path

from playwright.sync_api import Page

from tests.browser.chromium import launched
from tests.browser.gallery import serve_gallery
from tests.dashboard.gallery import GALLERY

SHAPES = {"light": (1280, 800), "dark": (1280, 800), "phone": (360, 740)}


def main(directory: Path, names: list[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with serve_gallery() as gallery, launched() as browser:
        for shape, (width, height) in SHAPES.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            page.emulate_media(color_scheme="dark" if shape == "dark" else "light")
            for name in names or GALLERY:
                _photograph(page, f"{gallery.origin}/{name}", directory / f"{name}.{shape}.png")
            page.close()


def _photograph(page: Page, address: str, path: Path) -> None:
    page.goto(address)
    page.screenshot(path=path, full_page=True, animations="disabled")
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    print(f"{path.name}{f': {overflow} px too wide' if overflow > 0 else ''}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
