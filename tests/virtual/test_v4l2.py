"""The V4L2 adapter on a real kernel's V4L2 device (v4l2loopback in User Mode Linux), plugged in and gone silent.

Proves buffers, sizes, stamps and what a lost camera ends in; not USB, not MJPEG, no rate: a guest is slow.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from . import rootfs, uml

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(1800)]

FRAMES = 30
_JOB = f"""\
export HIPLINE_MODELS=/var/lib/hipline/current/models XDG_STATE_HOME=/tmp/state
python=/var/lib/hipline/current/venv/bin/python
feeder() {{ $python /uml/on_v4l2.py feed /dev/video0 & feeder=$!; sleep 5; }}
seconds() {{ cut -d' ' -f1 /proc/uptime; }}

$python /uml/on_v4l2.py look v4l2:/dev/video7 1 2>&1 | sed 's/^/absent /'
feeder
$python /uml/on_v4l2.py look auto {FRAMES} | sed 's/^/live /'
$python /uml/on_v4l2.py look /dev/video0 100000 >/tmp/lost & looker=$!
sleep 8
echo "killed $(seconds)"
kill $feeder; wait $looker
sed 's/^/lost /' /tmp/lost

feeder
$python -m station run --no-web --set camera.source=v4l2:/dev/video0 >/tmp/run.log 2>&1 & station=$!
for i in $(seq 120); do grep -q ^running /tmp/run.log && break; kill -0 $station || break; sleep 1; done
sleep 5
echo "unplugged $(seconds)"
kill $feeder; wait $station
echo "ended $? $(seconds)"
sed 's/^/run /' /tmp/run.log
pgrep -a mosquitto | sed 's/^/left /'
"""


@pytest.fixture(scope="module")
def said(installed: Path) -> dict[str, list[str]]:
    """What the guest said, by the first word of its lines."""
    try:
        uml.kernel()
    except rootfs.RootfsError as error:
        pytest.skip(str(error))
    (installed / "uml").mkdir(exist_ok=True)
    (installed / "uml/on_v4l2.py").write_text((rootfs.HERE / "on_v4l2.py").read_text())
    log = uml.run(installed, _JOB)
    print(f"\n{log[-1500:]}")
    lines: dict[str, list[str]] = {}
    for line in log.splitlines():
        word, _, rest = line.partition(" ")
        lines.setdefault(word, []).append(rest)
    return lines


def _json(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_it_is_found_and_gives_its_frames_in_order(said: dict[str, list[str]]) -> None:
    about, *frames = _json(said["live"])
    assert about["devices"] == ["/dev/video0"]
    assert about["size"] == [640, 360]
    assert [frame["index"] for frame in frames] == list(range(FRAMES))
    assert {(frame["layout"], *frame["shape"]) for frame in frames} == {("bgr", 360, 640, 3)}
    assert max(frame["tint"] for frame in frames) <= 2  # a grey picture stays grey
    burnt = [frame["burnt"] for frame in frames]
    assert all(later > earlier for earlier, later in itertools.pairwise(burnt))
    assert burnt[-1] - burnt[0] < 3 * FRAMES  # hardly any was skipped


def test_times_are_the_drivers(said: dict[str, list[str]]) -> None:
    frames = _json(said["live"])[1:]
    times = [frame["t"] for frame in frames]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    assert all(0 <= frame["now"] - frame["t"] < 5 for frame in frames)  # the same clock, stamped before it was read
    pictures = frames[-1]["burnt"] - frames[0]["burnt"]
    assert times[-1] - times[0] == pytest.approx(pictures / 10, rel=0.5)


def test_one_that_is_not_there_is_named(said: dict[str, list[str]]) -> None:
    assert "/dev/video7: no such device; plug the camera in" in "\n".join(said["absent"])


def test_one_that_stops_is_an_error_within_its_time(said: dict[str, list[str]]) -> None:
    *_, last = _json(said["lost"])
    assert last["error"] == "/dev/video0: gives no more pictures; check its cable and power"
    assert last["now"] - float(said["killed"][0]) < 15


def test_the_station_ends_with_the_reason_when_its_camera_stops(said: dict[str, list[str]]) -> None:
    code, ended_s = said["ended"][0].split()
    told = "\n".join(said["run"])
    assert int(code) == 1, told
    assert re.search(r"station: /dev/video0.*(gave no frame for|gives no more pictures).*check its cable", told), told
    assert float(ended_s) - float(said["unplugged"][0]) < 20
    assert "left" not in said  # its broker went with it
