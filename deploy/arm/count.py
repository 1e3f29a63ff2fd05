#!/usr/bin/env python3
"""``make bench-arm``: instructions per inference and per frame on Cortex-A72 (Pi 4) and A76 (Pi 5), counted, not timed.

The station's own code and models run under qemu's user mode with the counting plugin beside this file. A count repeats
to a fraction of a percent, so it guards against regressions (± 3 % against ``table.json``); it is no time: caches,
memory and pipelines are not in it, and gaps under 15 % say nothing about speed.

    deploy/arm/count.py            count and print; exit 1 when a count is more than 3 % from the table's
    deploy/arm/count.py --update   write the table anew (look at the difference before committing it)

Needs Debian 12's apt-get, dpkg, mmdebstrap and a C compiler; everything it fetches stays in ``.cache/arm``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from station.camera import BUNDLED_CLIP, frames
from station.camera.video import VideoFile
from station.models import LANDMARK_MODELS, models_folder

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
CACHE = TREE / ".cache" / "arm"
TABLE = HERE / "table.json"
PYTHON = "python3.11"
PACKAGES = (f"{PYTHON}-minimal", "libpython3.11-stdlib", "libstdc++6", "libgcc-s1", "zlib1g", "libc6")
WHEELS = ("numpy", "ai-edge-litert", "opencv-python-headless")
#: What XNNPACK reads to choose its kernels: implementer and part of the core, and what it can do.
CORES = {
    "a72": ("cortex-a72", "0xd08", "fp asimd evtstrm crc32 cpuid"),
    "a76": ("cortex-a76", "0xd0b", "fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"),
}
FIRST_FRAME, FRAMES = 60, 6
TOLERANCE = 0.03

Counts = dict[str, dict[str, float]]


def main() -> int:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description="Count ARM instructions per inference and per frame.")
    parser.add_argument("--update", action="store_true", help="write the committed table anew")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args()
    prepare()
    with tempfile.TemporaryDirectory(prefix="hipline-arm-") as name:
        folder = Path(name)
        source = folder / "frames.npz"
        np.savez(source, frames=np.stack(_pictures()))
        here = _run([sys.executable], folder / "here.npz", source, {})
        del here
        counts: dict[str, Counts] = {}
        for core in CORES:
            print(f"counting on {CORES[core][0]} …", file=sys.stderr, flush=True)
            counts[core] = _counted(core, folder / f"{core}.npz", source)
        report = {
            "unit": "million instructions",
            "counts": counts,
            "keypoints_px": {core: differences(folder / f"{core}.npz", folder / "here.npz") for core in CORES},
        }
    print(json.dumps(report, indent=1) if options.json else _text(report))
    if options.update:
        TABLE.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        return 0
    faults = regressions(json.loads(TABLE.read_text(encoding="utf-8"))["counts"], counts)
    for fault in faults:
        print(f"bench-arm: {fault}", file=sys.stderr)
    return 1 if faults else 0


# --- what is counted --------------------------------------------------------------------------------------------------


def regressions(table: Mapping[str, Counts], counts: Mapping[str, Counts]) -> list[str]:
    """One line for every count that is not within :data:`TOLERANCE` of the table's, or has no place in it."""
    faults = []
    for core, names in counts.items():
        for name, kinds in names.items():
            wanted = table.get(core, {}).get(name)
            if wanted is None:
                faults.append(f"{core} {name}: not in the table; --update writes it")
            elif abs(kinds["total"] / wanted["total"] - 1) > TOLERANCE:
                faults.append(f"{core} {name}: {kinds['total']} M instructions, the table has {wanted['total']}")
        faults += [f"{core} {name}: in the table, but not counted" for name in table.get(core, {}) if name not in names]
    return faults


def parse(output: str, lines: str) -> Counts:
    """Millions of instructions per call, by name and kind, from what guest and plugin wrote."""
    announced = [line.split(" ", 2) for line in output.splitlines() if re.match(r"\d+ \d+ ", line)]
    heard = dict(re.findall(r"^@@ (\d+) (.*)$", lines, re.MULTILINE))
    counts: Counts = {}
    for mark, repetitions, name in announced:
        kinds = dict(part.split("=") for part in heard[str(2 * int(mark) + 1)].split())
        counts[name] = {kind: round(int(n) / 1e6 / int(repetitions), 3) for kind, n in kinds.items()}
    return counts


def differences(arm: Path, x86: Path) -> dict[str, dict[str, float]]:
    """Keypoints of each model, in pixels: ARM against x86 kernels, and int8 against float on ARM; mean and largest."""
    on_arm, here = np.load(arm), np.load(x86)
    found: dict[str, dict[str, float]] = {}
    for name in LANDMARK_MODELS:
        pairs = {"arm_x86": (on_arm[f"{name}_xy_px"], here[f"{name}_xy_px"])}
        if f"{name}-float" in LANDMARK_MODELS:
            pairs["int8_float"] = (on_arm[f"{name}_xy_px"], on_arm[f"{name}-float_xy_px"])
        for what, (one, other) in pairs.items():
            apart = np.hypot(*np.moveaxis(one - other, -1, 0))
            found.setdefault(name, {})[f"{what}_mean"] = round(float(np.nanmean(apart)), 3)
            found[name][f"{what}_max"] = round(float(np.nanmax(apart)), 3)
    return found


def _text(report: Mapping[str, object]) -> str:
    counts = report["counts"]
    assert isinstance(counts, dict)
    kinds = ("total", "fmla", "sdot", "smull", "simd", "load", "store", "branch")
    lines = ["Million instructions, counted under emulation: no time, and gaps under 15 % say nothing about speed."]
    for core, names in counts.items():
        lines += ["", f"{CORES[core][0]:28}" + "".join(f"{kind:>9}" for kind in kinds)]
        lines += [f"{name:28}" + "".join(f"{found[kind]:9.2f}" for kind in kinds) for name, found in names.items()]
    lines += ["", f"keypoints: {json.dumps(report['keypoints_px'])}"]
    return "\n".join(lines)


def _pictures() -> list[np.ndarray]:
    video = VideoFile(BUNDLED_CLIP)
    wanted = []
    for frame in frames(video):
        if frame.index >= FIRST_FRAME:
            wanted.append(np.array(frame.image))
        if len(wanted) == FRAMES:
            break
    video.close()
    return wanted


# --- the emulated machine ---------------------------------------------------------------------------------------------


def _counted(core: str, out: Path, source: Path) -> Counts:
    plugin = ("-plugin", str(CACHE / "libinsncount.so"))
    done = _run(on_core(core, *plugin), out, source, {"LD_LIBRARY_PATH": str(CACHE / "qemu/usr/lib/x86_64-linux-gnu")})
    return parse(done.stdout, done.stderr)


def on_core(core: str, *more: str) -> list[str]:
    """The command that is Python on an emulated core; one core at a time, for the tree tells what core it is."""
    cpu, part, features = CORES[core]
    _pretend(part, features)
    qemu = [str(CACHE / "qemu/usr/bin/qemu-aarch64"), "-L", str(CACHE / "root"), "-cpu", cpu]
    return [*qemu, *more, str(CACHE / "root/usr/bin" / PYTHON)]


def _run(python: list[str], out: Path, source: Path, more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": f"{TREE}{os.pathsep}{CACHE / 'site'}" if more else str(TREE),
        "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "HIPLINE_MODELS": str(models_folder()), **more,
    }  # fmt: skip
    command = [*python, str(HERE / "guest.py"), str(source), str(out), str(models_folder())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench-arm: {python[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done


def _pretend(part: str, features: str) -> None:
    """What a Pi's kernel says of its cores; without it XNNPACK is not used, or crashes."""
    core = (
        f"processor\t: {{}}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n\n"
    )
    _write(CACHE / "root/proc/cpuinfo", "".join(core.format(i) for i in range(4)))
    for name in ("present", "possible", "online"):
        _write(CACHE / f"root/sys/devices/system/cpu/{name}", "0-3\n")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def prepare() -> None:
    """Fetch and build what is not there yet."""
    if platform.machine() != "x86_64":
        raise SystemExit("bench-arm: counts on x86-64 only; on the device itself `station bench latency` measures")
    CACHE.mkdir(parents=True, exist_ok=True)
    _once("qemu", _qemu)
    _once("root", _root)
    _once("site", _site)
    _do("cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", CACHE / "libinsncount.so", HERE / "insncount.c")


def _once(name: str, make: object) -> None:
    if not (CACHE / name).exists():
        fresh = CACHE / f"{name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        assert callable(make)
        make(fresh)
        fresh.rename(CACHE / name)


def _qemu(folder: Path) -> None:
    """The dynamic qemu: the static one of Debian cannot load a plugin."""
    subprocess.run(["apt-get", "download", "-q", "qemu-user", "libcapstone4"], cwd=folder, check=True)
    for package in folder.glob("*.deb"):
        _do("dpkg", "-x", package, folder)
        package.unlink()


def _root(folder: Path) -> None:
    """Python and C libraries for aarch64, unpacked and not installed: nothing of it runs here but under qemu."""
    sources = next(path for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
                   if path.is_file())  # fmt: skip
    archive = folder.with_suffix(".tar")
    _do("mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract", f"--include={','.join(PACKAGES)}", "bookworm",
        archive, sources)  # fmt: skip
    _do("tar", "-C", folder, "--exclude=./dev", "-xf", archive)
    archive.unlink()


def _site(folder: Path) -> None:
    _do(Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--target", folder, "--python-platform",
        "aarch64-manylinux_2_28", "--python-version", "3.11", "--only-binary", ":all:", "--constraint",
        TREE / "locks/run.txt", *WHEELS)  # fmt: skip


def _do(*command: object) -> None:
    try:
        subprocess.run([str(part) for part in command], check=True)
    except FileNotFoundError:
        raise SystemExit(f"bench-arm: {command[0]} is not installed: apt-get install {command[0]}") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"bench-arm: {command[0]} failed ({error.returncode})") from None


if __name__ == "__main__":
    sys.exit(main())
