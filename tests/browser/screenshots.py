"""Takes a picture of every page of the running product: `python -m tests.browser.screenshots DIRECTORY [NAME…]`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.chromium import launched
from tests.browser.household import OUTSIDE, furnish, pages
from tests.browser.product import running_product
from tests.browser.test_every_page import log_in

SHAPES = {"light": (1280, 800), "dark": (1280, 800), "phone": (360, 740)}


def main(directory: Path, names: list[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as home, running_product(Path(home)) as product, launched() as browser:
        house = furnish(product)
        context = browser.new_context()
        page = context.new_page()
        for shown in (OUTSIDE, pages(house)):
            if shown is not OUTSIDE:
                log_in(page, product, house.email)
            for name, path in shown.items():
                if names and name not in names:
                    continue
                for shape, (width, height) in SHAPES.items():
                    page.set_viewport_size({"width": width, "height": height})
                    page.emulate_media(color_scheme="dark" if shape == "dark" else "light")
                    page.goto(f"{product.url}{path}")
                    page.screenshot(path=directory / f"{name}.{shape}.png", full_page=True, animations="disabled")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
