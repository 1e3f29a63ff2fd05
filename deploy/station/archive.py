"""The guard in one file: a zip that the system's own Python runs. The same source, the same bytes.

Standard library only, as all of this package.
"""

from __future__ import annotations

import io
import tomllib
import zipfile
from pathlib import Path

_MAIN = b"import sys\n\nfrom station.update.guard import main\n\nsys.exit(main())\n"


def modules(source: Path) -> dict[str, bytes]:
    """The guard's modules, as pyproject.toml lists them: path → content."""
    table = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
    names: list[str] = table["tool"]["hipline"]["release"]["guard"]
    return {name: (source / name).read_bytes() for name in names}


def pack(source: Path) -> bytes:
    """The archive. Not compressed: it must not need zlib, and it is small."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted({"__main__.py": _MAIN, **modules(source)}.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr, info.create_system = 0o644 << 16, 3
            archive.writestr(info, data)
    return out.getvalue()
