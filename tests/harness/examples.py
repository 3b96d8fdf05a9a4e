"""The files of config/, unchanged except for paths and times."""

import pathlib

from . import ROOT

CONFIG = ROOT / "config"
RULES = "prometheus-aisearch.rules.yml"


# Replacements for one instance more than nginx.conf and collectd.conf begin with.
NGINX_HANDBOOK = ("instance    my-ai-search;", "instance    my-ai-search handbook;")
COLLECTD_HANDBOOK = ('#<Instance "handbook">', '<Instance "handbook">\n</Instance>')


def config_text(name: str, *replacements: tuple[str, str | int | pathlib.Path]) -> str:
    """Returns a file of config/ with the given replacements, whose old texts must be in it."""
    text = (CONFIG / name).read_text()
    for old, new in replacements:
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, str(new))
    return text
