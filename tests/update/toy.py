"""A whole station made of toys around the real updater: releases of tiny wheels, processes, a real broker."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.station import archive, parts
from station.update import base
from station.update import journal as journals
from station.update.journal import Journal
from station.update.layout import Layout
from station.update.manifest import Manifest, ReleaseFile, sequence_of, this_platform, this_python, write
from tests.broker_fixture import Listener, Mosquitto, eventually, free_port

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
UNITS = ("station.service", "station-web.service")


def wheel(version: str, behaviour: str = "good") -> bytes:
    """A real wheel of the toy station, the same bytes for the same words."""
    source = (HERE / "toy_station.py").read_text()
    source = source.replace('BEHAVIOUR = "good"', f"BEHAVIOUR = {behaviour!r}")
    source = source.replace('VERSION = "0.0.0"', f"VERSION = {version!r}")
    info = f"hipline_station-{version}.dist-info"
    files = {
        "toy_station.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: hipline-station\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: toy\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nstation = toy_station:main\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text.encode())}\n" for name, text in files.items())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    return out.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@dataclass
class Toy:
    """One station. ``environment`` is what every process of it gets."""

    folder: Path
    broker: Mosquitto
    limits: Mapping[str, float] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layout = Layout(self.folder / "hipline")
        self.layout.make()
        self.page = free_port()
        units = self.folder / "units"
        units.mkdir()
        (units / "calls").touch()
        config = self.folder / "station.toml"
        config.write_text(f'[mqtt]\nhost = "127.0.0.1"\nport = {self.broker.port}\n[web]\nport = {self.page}\n')
        systemctl = self.folder / "systemctl"
        systemctl.write_text(f'#!/bin/sh\nexec {sys.executable} -S {HERE / "toy_systemctl.py"} "$@"\n')
        systemctl.chmod(0o755)
        limits = {"within_s": 200.0, "hold_s": 0.2, "frames": 30, "every_s": 0.1, **self.limits}
        paho = next(path for path in sys.path if (Path(path) / "paho").is_dir())
        self.environment = {
            **os.environ, "HIPLINE_ROOT": str(self.layout.root), "HIPLINE_SYSTEMCTL": str(systemctl),
            "TOY_UNITS": str(units), "TOY_BROKER": str(self.broker.port), "TOY_PAGE": str(self.page),
            "TOY_SITE": paho, "TOY_CONFIG": str(config), "TOY_LIMITS": json.dumps(limits),
            "TOY_PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY), **self.environment,
        }  # fmt: skip

    def be_patient_for(self, seconds: float) -> None:
        """So long may a release take from now on to get well."""
        limits = json.loads(self.environment["TOY_LIMITS"])
        self.environment["TOY_LIMITS"] = json.dumps({**limits, "within_s": seconds})

    # --- releases -----------------------------------------------------------------------------------------------------

    def release(
        self, version: str, behaviour: str = "good", other: Mapping[str, bytes] | None = None, **changes: Any
    ) -> Path:
        """Put a release's files among the blobs, as a download does, and return its manifest's file.

        ``other`` replaces files by path, ``changes`` fields of the manifest.
        """
        contents = {
            f"wheels/hipline_station-{version}-py3-none-any.whl": ("wheel", wheel(version, behaviour)),
            "models/pose.bin": ("model", b"model of all releases" * 1000),
            "systemd/station.service": ("unit", f"# {version}\n".encode()),
            "systemd/station-update.service": ("unit", f"[Service]\n# {version}\n".encode()),
            "systemd/station-update.timer": ("unit", b"[Timer]\n"),
            "systemd/station-update.path": ("unit", b"[Path]\n"),
            "scripts/hello": ("script", b"#!/bin/sh\necho hello\n"),
            "scripts/guard.pyz": ("script", archive.pack(REPOSITORY)),
        }
        contents |= {path: (contents[path][0], data) for path, data in (other or {}).items()}
        files = []
        for path, (kind, data) in contents.items():
            sha256 = hashlib.sha256(data).hexdigest()
            (self.layout.blobs / sha256).write_bytes(data)
            files.append(ReleaseFile(path, sha256, len(data), kind))  # type: ignore[arg-type]
        values: dict[str, Any] = {
            "version": version, "sequence": sequence_of(version), "minimum_previous": 0, "platform": this_platform(),
            "python": this_python(), "installed_size": 1_000_000, "files": tuple(files),
        }  # fmt: skip
        file = self.folder / f"{version}.json"
        file.write_bytes(write(Manifest(**{**values, **changes})))
        return file

    # --- processes ----------------------------------------------------------------------------------------------------

    def update(self, manifest: Path, *options: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
        """Run the updater to its end, or to its death at ``failpoint``."""
        return self._call("tests/update/drive.py", str(manifest), *options, failpoint=failpoint)

    def guard(self, *options: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
        """Run the rollback that needs no release, as its unit does: by the system's Python, from its own place."""
        guard = self.folder / "guard"
        if not guard.exists():
            parts.put_all(guard, parts.guard_files())
        return self._call("-IB", str(guard), *options, failpoint=failpoint, python="/usr/bin/python3")

    def _call(self, *words: str, failpoint: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **({"HIPLINE_FAILPOINT": failpoint} if failpoint else {})}
        return subprocess.run(
            [python, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1500,
            check=False,
        )  # fmt: skip

    def systemctl(self, *words: str) -> str:
        """What the updater would hear."""
        command = [self.environment["HIPLINE_SYSTEMCTL"], *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def power_off(self) -> None:
        """Every process of the station is gone at once."""
        self.systemctl("stop", *UNITS)

    def power_on(self) -> None:
        """As systemd does at boot: the guard first, then the services."""
        done = self.guard("--boot")
        assert done.returncode == 0, done.stderr
        self.systemctl("start", *UNITS)

    # --- what can be seen ---------------------------------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        return journals.load(self.layout)

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.layout.report.read_text())  # type: ignore[no-any-return]

    @property
    def calls(self) -> list[str]:
        return (self.folder / "units" / "calls").read_text().splitlines()

    def serves(self) -> str:
        """Wait until engine and page of the active release are up; its version."""
        version = self.layout.active()
        assert version is not None
        assert self.layout.is_complete(version)
        listener = Listener(self.broker.port, "hipline/v1/gym/station/status", name=f"serves-{os.urandom(4).hex()}")

        def online() -> bool:
            said = listener.on("/status")
            return bool(said) and said[-1].json == {"state": "online", "since": None, "version": version}

        try:
            eventually(online, 30, f"{version} is online")
            eventually(self._page_answers, 30, f"the page of {version}")
        finally:
            listener.close()
        return version

    def _page_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def updater(self) -> str:
        """The release whose updater units and guard are in place, and whole."""
        assert base.active(self.layout) is not None
        return (self.layout.base_current / "systemd/station-update.service").read_text().split("# ")[1].strip()

    def disk_use(self) -> int:
        """Bytes under the root, links and folders not counted."""
        return sum(path.stat().st_size for path in self.layout.root.rglob("*") if path.is_file())
