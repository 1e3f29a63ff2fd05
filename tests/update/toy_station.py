"""A station that fits into a wheel of some kilobytes: the same commands, the same messages, any fault one asks for.

It ships in the wheels of toy releases as the module ``toy_station``; ``BEHAVIOUR`` and ``VERSION`` are replaced.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

BEHAVIOUR = "good"
VERSION = "0.0.0"
ROOT = "hipline/v1/gym/station"


def main() -> int:
    words = sys.argv[1:]
    if words[:2] == ["update", "self-test"]:
        return self_test()
    if words[:1] == ["update"]:  # the updater itself is no toy: this source's, as a release would bring it
        os.execv(os.environ["TOY_PYTHON"], [os.environ["TOY_PYTHON"], "-m", "station", *words])
    return web() if words[:1] == ["web"] else run()


def self_test() -> int:
    model = Path(os.environ["HIPLINE_MODELS"]) / "pose.bin"
    if BEHAVIOUR == "wrong model" or not model.read_bytes().startswith(b"model"):
        print("golden input: left_hip is 99 px off", file=sys.stderr)
        return 1
    print("self-test passed")
    return 0


def run() -> int:
    if BEHAVIOUR == "crash":
        raise RuntimeError("this release crashes")
    sys.path.append(os.environ["TOY_SITE"])
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="toy", protocol=mqtt.MQTTv5)
    client.will_set(f"{ROOT}/status", json.dumps({"state": "offline", "version": VERSION}), 1, True)
    client.connect("127.0.0.1", int(os.environ["TOY_BROKER"]))
    client.loop_start()

    def say(topic: str, payload: dict[str, object], qos: int = 1) -> None:
        client.publish(f"{ROOT}/{topic}", json.dumps(payload), qos, qos == 1).wait_for_publish(5)

    say("status", {"state": "online", "since": None, "version": VERSION})
    lost = BEHAVIOUR == "no camera"
    session = os.environ.get("TOY_SESSION")
    say("state", {"state": "camera_lost" if lost else "running" if session else "idle", "session": session})
    if not lost and BEHAVIOUR != "hang":
        (Path(os.environ["TOY_UNIT"]) / "ready").touch()
    rss_mb = 9000.0 if BEHAVIOUR == "memory" else 100.0
    while True:
        time.sleep(0.1)
        if BEHAVIOUR != "hang":
            say("health", {"fps_out": 0.0 if lost else 300.0, "rss_mb": rss_mb}, 0)


def web() -> int:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = {"/": b'<html><script src="/app.js"></script></html>', "/app.js": b"1"}.get(self.path)
            broken = found is None or (BEHAVIOUR == "page" and self.path == "/app.js")
            self.send_response(500 if broken else 200)
            self.end_headers()
            self.wfile.write(b"" if found is None else found)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["TOY_PAGE"])), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (Path(os.environ["TOY_UNIT"]) / "ready").touch()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    sys.exit(main())
