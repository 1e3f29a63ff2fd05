"""Which version of the station this is."""

from __future__ import annotations

import importlib.metadata


def version() -> str:
    """The installed version."""
    try:
        return importlib.metadata.version("hipline-station")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"
