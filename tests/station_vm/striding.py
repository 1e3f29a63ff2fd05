"""Strides at their true rate on a processor that needs a second for a picture's pose.

The bundled clip in small, and its known joints in place of the pose model: that one part is stood in for. The rest is
the installed station: capture, kernel, outbox, broker, page, units.
"""

from __future__ import annotations

import json

import numpy as np

from station.camera import BUNDLED_CLIP
from station.types import KEYPOINTS

from . import clips
from .machine import Machine, until
from .station import TOPIC, journal

SMALLER = 4
_HOOK = """\
import json, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "station.engine.run":
            return None
        sys.meta_path.remove(self)
        import numpy as np
        from station.engine import observer
        from station.types import Pose
        joints = np.array(json.load(open("/usr/share/hipline-test/joints.json")))
        class Known:
            def estimate(self, frame):
                return Pose(joints[frame.index % len(joints)].copy(), np.ones(joints.shape[1]))
        observer.load_pose = lambda config, say: Known()
        return None
sys.meta_path.insert(0, Finder())
"""
_PACKAGES = "/var/lib/hipline/current/venv/lib/python3.13/site-packages"
_HEARD = "/root/heard.jsonl"


def begin(machine: Machine) -> None:
    """Let the station in the machine stride; returns when it does."""
    folder = "/usr/share/hipline-test"
    machine.run("systemctl stop station")
    machine.put_bytes(f"{folder}/runner.mp4", clips.lighter(smaller=SMALLER))
    machine.put(f"{folder}/joints.json", json.dumps(_joints().round(2).tolist()))
    machine.put(f"{_PACKAGES}/known_pose.py", _HOOK)
    machine.put(f"{_PACKAGES}/known_pose.pth", "import known_pose\n")
    clip = f's,^source = .*mp4.*,source = "{folder}/runner.mp4",'
    machine.run(f'sed -i \'{clip}; s,"tap","auto",\' /etc/station/station.toml')
    machine.run(
        f": > {_HEARD}; systemd-run -q --unit=ear -p Restart=always -p RestartSec=1 -p StartLimitIntervalSec=0 sh -c "
        f"'exec mosquitto_sub -i ear -c -q 1 -t {TOPIC}/stride >> {_HEARD}'"
    )
    machine.run("systemctl reset-failed; systemctl start station", timeout_s=600)
    until(lambda: len(heard(machine)) >= 3, 900, f"no strides: {journal(machine, 'station')}", pause_s=2)


def heard(machine: Machine) -> list[dict[str, object]]:
    """Every stride that has arrived at a subscriber, each once, in the order they came."""
    lines = machine.run(f"cat {_HEARD}", check=False).splitlines()
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return list({(one["session"], one["seq"]): one for one in found}.values())


def health(machine: Machine) -> dict[str, object]:
    """The next health message."""
    return dict(json.loads(machine.run(f"mosquitto_sub -t {TOPIC}/health -C 1 -W 60", timeout_s=400)))


def _joints() -> np.ndarray:
    truth = json.loads(BUNDLED_CLIP.with_suffix(".truth.json").read_text(encoding="utf-8"))
    order = [truth["joints"].index(name) for name in KEYPOINTS]
    return np.asarray(np.array(truth["joints_px"])[:, order] / SMALLER)
