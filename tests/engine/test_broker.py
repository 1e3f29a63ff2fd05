"""The private broker: a real mosquitto that serves on loopback, remembers, and never outlives its station."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from station.broker import PrivateBroker
from station.errors import BrokerError

pytestmark = pytest.mark.usefixtures("mosquitto_path")


def _gone(pid: int) -> bool:
    """Whether no such process runs any more (a zombie nobody reaped does not run)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _soon(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _connect(broker: PrivateBroker, client_id: str = "") -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    client.connect(broker.host, broker.port)
    client.loop_start()
    assert _soon(client.is_connected)
    return client


def test_a_retained_message_survives_a_restart(tmp_path: Path) -> None:
    with PrivateBroker(tmp_path / "memory") as broker:
        client = _connect(broker)
        client.publish("a/session", b"kept", qos=1, retain=True).wait_for_publish(5)
        client.disconnect()
        client.loop_stop()
        first_pid = broker.pid
    assert _gone(first_pid)
    with PrivateBroker(tmp_path / "memory") as broker:
        got: list[bytes] = []
        client = _connect(broker)
        client.on_message = lambda _client, _data, message: got.append(bytes(message.payload))
        client.subscribe("a/session", options=SubscribeOptions(qos=1))
        assert _soon(lambda: got == [b"kept"])
        client.disconnect()
        client.loop_stop()


def test_it_listens_on_loopback_alone_and_two_live_side_by_side(tmp_path: Path) -> None:
    with PrivateBroker(tmp_path / "one") as one, PrivateBroker(tmp_path / "two") as two:
        assert one.port != two.port
        listening = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line}
        for broker in (one, two):
            assert f"0100007F:{broker.port:04X}" in listening
            assert f"00000000:{broker.port:04X}" not in listening


def test_stopping_leaves_no_process_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    broker = PrivateBroker(tmp_path / "memory")
    assert len(list(runtime.iterdir())) == 1
    broker.stop()
    assert _gone(broker.pid)
    assert not broker.alive
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("kill_signal", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_the_station_even_by_kill_9(tmp_path: Path, kill_signal: int) -> None:
    program = (
        "import sys, time; from pathlib import Path; from station.broker import PrivateBroker\n"
        "broker = PrivateBroker(Path(sys.argv[1])); print(broker.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "memory")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        broker_pid = int(parent.stdout.readline())
        assert not _gone(broker_pid)
        parent.send_signal(kill_signal)
    assert _soon(lambda: _gone(broker_pid))


def test_what_a_killed_station_left_behind_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    (tmp_path / "hipline-broker-999999999-abc").mkdir()
    with PrivateBroker(tmp_path / "memory"), PrivateBroker(tmp_path / "other"):
        assert not (tmp_path / "hipline-broker-999999999-abc").exists()
        assert len(list(tmp_path.glob("hipline-broker-*"))) == 2  # the first one's is still in use


def test_without_mosquitto_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_kwargs: None)
    with pytest.raises(BrokerError, match="apt-get install mosquitto"):
        PrivateBroker(tmp_path)


def test_a_memory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match="file/memory"):
        PrivateBroker(tmp_path / "file" / "memory")
