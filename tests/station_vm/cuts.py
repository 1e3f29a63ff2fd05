"""The plug is pulled at random moments of an update. What comes back is looked at; nobody helps.

A rehearsal runs the update once, to its end, and saves the machine now and then. A cut resumes the last state saved
before its moment, lets it run on to that moment, and kills the emulator: what the guest had not written is lost. So all
cuts begin from the same disk and the same memory. Moments are measured by the emulator's own use of the processor.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .image import say
from .machine import Machine, until
from .station import NEW, OLD, SERVING, Place, journal, page, version_online

#: Emulator's CPU seconds between two saved states.
EVERY_S = 30.0
#: Compares every file that pip wrote with what its wheel says of it, the release's other files with its manifest, guard
#: and updater with the name of their generation; prints how many it compared.
_WHOLE = """\
import base64, csv, hashlib, json, pathlib, sys
release = pathlib.Path("/var/lib/hipline/current").resolve()
packages = release / "venv/lib/python3.13/site-packages"
compared = 0
for record in packages.glob("*.dist-info/RECORD"):
    for name, digest, _ in csv.reader(record.open()):
        if digest:
            data = (packages / name).read_bytes()
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            if digest != "sha256=" + found:
                sys.exit(f"{packages / name} is damaged")
            compared += 1
for file in json.loads((release / "manifest.json").read_text())["files"]:
    if file["kind"] != "wheel":
        if hashlib.sha256((release / file["path"]).read_bytes()).hexdigest() != file["sha256"]:
            sys.exit(f"{release / file['path']} is damaged")
        compared += 1
base, total = (release.parent.parent / "base/current").resolve(), hashlib.sha256()
for path in [base / "guard.pyz", *sorted((base / "systemd").iterdir())]:
    total.update(f"{path.relative_to(base)}\\0{hashlib.sha256(path.read_bytes()).hexdigest()}\\n".encode())
    compared += 1
if total.hexdigest()[:16] != base.name:
    sys.exit(f"{base} is damaged")
print(compared)
"""


def rehearse(place: Place) -> list[dict[str, Any]]:
    """The update without a cut: its saved states, oldest first, with the moment and the step of each.

    The last one has no name: the end. A rehearsal that was ended itself goes on from its newest state.
    """
    log = place.folder / "rehearsal.json"
    states: list[dict[str, Any]] = json.loads(log.read_text()) if log.exists() else []
    if states and not states[-1]["name"]:
        return states
    machine = place.start(states[-1]["name"] if states else SERVING)
    try:
        began_s = machine.cpu_s - (states[-1]["at_s"] if states else 0.0)
        # On a station the frames come first. Here they would leave the updater a tenth of the processor for an hour.
        machine.run("systemctl set-property --runtime station-update.service CPUWeight=2000")
        machine.run("systemctl start --no-block station-update")
        while _goes_on(machine):
            name = f"cut-{len(states):02d}"
            machine.save(name)
            states.append({"name": name, "at_s": machine.cpu_s - began_s, "step": step_of(machine)})
            log.write_text(json.dumps(states, indent=1))
            say(f"rehearsal: {states[-1]['at_s']:.0f} s: {states[-1]['step']}; {_last(machine)}")
            until_s = machine.cpu_s + EVERY_S
            while machine.cpu_s < until_s and _goes_on(machine):
                time.sleep(2)
        said = journal(machine, "station-update", lines=60)
        assert version_online(machine) == NEW, said
        assert step_of(machine) == "idle", said
        states.append({"name": "", "at_s": machine.cpu_s - began_s, "step": "committed"})
        say(f"rehearsal: committed after {states[-1]['at_s']:.0f} s")
        log_of(place).write_text(said)
        log.write_text(json.dumps(states, indent=1))
    finally:
        machine.cut()
    return states


def cut(place: Place, states: list[dict[str, Any]], at_s: float) -> dict[str, Any]:
    """Pull the plug at a moment, then wait until the station serves again by itself; what was seen."""
    start = [state for state in states if state["at_s"] <= at_s and state["name"]][-1]
    machine = place.start(start["name"])
    try:
        began_s, lacks_s = machine.cpu_s, at_s - start["at_s"]
        while machine.cpu_s - began_s < lacks_s - 1:
            time.sleep(0.05)
        step = step_of(machine)
        while machine.cpu_s - began_s < lacks_s:
            time.sleep(0.005)
    finally:
        machine.cut()
    found: dict[str, Any] = {"at_s": round(at_s, 1), "step": step}
    machine = place.start()
    try:
        found["after"] = step_of(machine)
        found.update(look(machine))
        found["cpu_s"] = round(machine.cpu_s)
    finally:
        machine.cut()
    return found


def look(machine: Machine) -> Mapping[str, Any]:
    """Wait until it serves; which release that is, and whether all of it is there."""
    seen: dict[str, Any] = {}

    def serves() -> bool:
        seen["version"] = version_online(machine)
        return seen["version"] is not None and page(machine)

    try:
        until(serves, 1800, "", pause_s=1)
    except AssertionError:
        return {"serves": False, "log": journal(machine, lines=80)}
    active = machine.run("basename $(readlink /var/lib/hipline/current)")
    machine.put("/run/whole.py", _WHOLE)
    code, said = machine.call("/usr/bin/python3 -I /run/whole.py", 1800)
    guard, _ = machine.call("/usr/bin/python3 -IB /var/lib/hipline/base/current/guard.pyz --self-check")
    return {
        "serves": True, "active": active, "version": seen["version"], "whole": code == 0, "compared": said.strip(),
        "guard": guard == 0,
    }  # fmt: skip


def is_well(found: Mapping[str, Any]) -> bool:
    """Whether the station came back on one complete release, the old one or the new one."""
    whole = found["serves"] and found["whole"] and found["guard"]
    return bool(whole and found["active"] == found["version"] in (OLD, NEW))


def moments(states: list[dict[str, Any]], count: int, seed: int) -> Iterator[float]:
    """Moments of the update, drawn at random: one from each of ``count`` equal parts, in random order.

    None is before the first saved state: there the update is being started.
    """
    chance = random.Random(seed)
    first_s, end_s = states[0]["at_s"], states[-1]["at_s"]
    drawn = [max(first_s, end_s * (part + chance.random()) / count) for part in range(count)]
    chance.shuffle(drawn)
    yield from drawn


def run(place: Place, count: int, seed: int) -> list[dict[str, Any]]:
    """All cuts; each is written to a log of the place at once. Goes on where an earlier run was ended."""
    states = rehearse(place)
    log = place.folder / f"cuts-{seed}-{count}.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for at_s in list(moments(states, count, seed))[len(done) :]:
        found = cut(place, states, at_s)
        done.append(found)
        with log.open("a") as file:
            file.write(json.dumps(found) + "\n")
        say(f"cut {len(done)} of {count}: {'well' if is_well(found) else 'LOST'}: {json.dumps(found)[:300]}")
    return done


def step_of(machine: Machine) -> str:
    """The step that the updater's journal has."""
    try:
        return str(json.loads(machine.run("cat /var/lib/hipline/update/journal.json", check=False))["step"])
    except ValueError:
        return "?"


def _goes_on(machine: Machine) -> bool:
    return machine.show("station-update", "ActiveState") in ("active", "activating")


def _last(machine: Machine) -> str:
    return machine.run("journalctl -u station-update -o cat --no-pager -n 1", check=False)


def log_of(place: Place) -> Path:
    """Where the rehearsal's journal lies."""
    return place.folder / "rehearsal.log"
