"""The page of config/html, and its location as in config/nginx.conf."""

import pathlib
import re
import shutil

from . import ROOT

PATH = "/aisearch/"


def location(tmp: pathlib.Path) -> str:
    """Returns the location for a server. The files are copied to tmp, where workers can read them."""
    html = tmp / "html"
    shutil.copytree(ROOT / "config" / "html", html)
    for path in (html, *html.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    [found] = re.findall(rf"^    location {PATH} \{{.*?^    \}}", (ROOT / "config/nginx.conf").read_text(), re.DOTALL | re.MULTILINE)
    return found.replace("/usr/share/aisearch-jobs/html/", f"{html}/")
