"""What tests in a browser need on this machine; imports nothing of it."""

import importlib.util
import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRIVER = "chromedriver"


def find_browser() -> str | None:
    """The path of Chromium or Chrome."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def find_driver() -> str | None:
    """The path of the program that steers it."""
    return shutil.which(DRIVER)


def explain_missing_browser() -> str | None:
    """Why tests in a browser cannot run here, each missing piece named; None if they can."""
    pieces = {
        "selenium": importlib.util.find_spec("selenium"),
        f"a browser ({', '.join(BROWSERS)})": find_browser(),
        DRIVER: find_driver(),
    }
    lacking = [name for name, piece in pieces.items() if piece is None]
    return f"not installed: {', '.join(lacking)}" if lacking else None
