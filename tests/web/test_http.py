"""The server from outside, over a real socket: headers, limits, trust, what strangers may not."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from station.config import Config, MqttConfig, WebConfig
from station.errors import ConfigError
from station.web.guard import RateLimit
from station.web.server import WebServer, settings_from
from station.web.settings import WebSettings
from tests.web import runner
from tests.web.conftest import PIN
from tests.web.runner import ROOT, Publisher
from tests.web.stand import Broker, StreamReader, ask, until

REMOTE = {"Host": "treadmill.gym:8080"}
PAGES = ("/", "/boot.json", "/healthz", "/setup", "/static/screen.css", "/nothing", "/s/unknown", "/deleted")


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_carries_the_security_headers(web: WebServer, path: str) -> None:
    headers = ask(web, path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "server" not in headers
    if not path.startswith("/static"):
        assert headers["cache-control"] == "no-store"


def test_no_page_has_anything_inline_or_from_elsewhere(web: WebServer) -> None:
    for path in ("/", "/setup", "/deleted"):
        text = ask(web, path).text
        assert not re.search(r"<script(?![^>]*src=\"/static/)|<style|style=|\son\w+=|javascript:|https?://", text), path


def test_no_route_reaches_frames(web: WebServer) -> None:
    rules = {rule.rule for rule in web.app.url_map.iter_rules()}
    assert rules == {
        "/static/<path:filename>", "/", "/boot.json", "/healthz", "/events", "/cmd/<name>", "/s/<token>",
        "/s/<token>/session.json", "/s/<token>/session.csv", "/s/<token>/card.svg", "/s/<token>/qr.svg",
        "/s/<token>/delete", "/deleted", "/setup", "/setup/key", "/go/<key>", "/go/<key>/qr.svg", "/started",
    }  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/..%5capp.py"]
)
def test_static_files_stay_in_their_folder(web: WebServer, path: str) -> None:
    answer = ask(web, path)
    assert answer.status in (308, 400, 404)
    assert b"Flask" not in answer.body
    assert b"root:" not in answer.body


class TestCommands:
    def listen(self, broker: Broker) -> list[tuple[str, object]]:
        heard: list[tuple[str, object]] = []
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.on_message = lambda _c, _u, m: heard.append((m.topic.removeprefix(ROOT), json.loads(m.payload)))
        client.connect("127.0.0.1", broker.port)
        client.subscribe(f"{ROOT}/cmd/+", qos=1)
        client.loop_start()
        until(client.is_connected)
        return heard

    def test_start_stop_baseline_reach_the_broker(self, web: WebServer, broker: Broker) -> None:
        heard = self.listen(broker)
        for name, body in (("start", {"profile": "women"}), ("baseline", {}), ("stop", {})):
            assert ask(web, f"/cmd/{name}", "POST", json.dumps(body), Content_Type="application/json").status == 204
        until(lambda: len(heard) == 3)
        assert heard == [("/cmd/start", {"profile": "women"}), ("/cmd/baseline", {}), ("/cmd/stop", {})]

    @pytest.mark.parametrize(
        ("path", "body", "headers", "status"),
        [
            ("/cmd/erase", "{}", {}, 404),
            ("/cmd/start", "{}", REMOTE, 403),
            ("/cmd/start", "{}", {"X-Forwarded-For": "10.0.0.9"}, 403),
            ("/cmd/start", "{}", {"Origin": "http://evil.example"}, 403),
            ("/cmd/start", "{}", {"Sec-Fetch-Site": "cross-site"}, 403),
            ("/cmd/start", "profile=women", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
            ("/cmd/start", "[]", {}, 415),
            ("/cmd/start", "{nonsense", {}, 415),
            ("/cmd/start", '{"profile": "robots"}', {}, 400),
            ("/cmd/start", '{"profile": ["women"]}', {}, 400),
            ("/cmd/start", '{"topic": "x"}', {}, 400),
            ("/cmd/start", '{"profile": "' + "x" * 5000 + '"}', {}, 413),
        ],
    )
    def test_what_is_refused_never_reaches_the_broker(
        self, web: WebServer, broker: Broker, path: str, body: str, headers: dict[str, str], status: int
    ) -> None:
        heard = self.listen(broker)
        assert ask(web, path, "POST", body, **{"Content-Type": "application/json", **headers}).status == status
        assert ask(web, "/cmd/stop", "POST", "{}", Content_Type="application/json").status == 204
        until(lambda: heard)
        assert heard == [("/cmd/stop", {})]

    def test_without_a_broker_a_command_is_refused_not_kept(self, web: WebServer, broker: Broker) -> None:
        broker.stop()
        until(lambda: not web.feed.connected)
        assert ask(web, "/cmd/start", "POST", "{}", Content_Type="application/json").status == 503


class TestReport:
    @pytest.fixture
    def token(self, web: WebServer, engine: Publisher) -> str:
        engine.say("session", runner.session())
        engine.say("state", runner.state("summary"))
        until(lambda: web.hub.latest("report"))
        report = web.hub.latest("report")
        assert isinstance(report, dict)
        return str(report["token"])

    def test_it_says_what_was_measured_and_what_is_not_known(self, web: WebServer, token: str) -> None:
        text = ask(web, f"/s/{token}").text
        for wanted in ("7.2°", "4.4°", "74", "20:04", "Side plank", "Lateral band walks", "Single-leg bridge",
                       "Pelvis turn, whole swing", "+1.6", "Belt line level", "7.6 → 6.9 · it helped"):  # fmt: skip
            assert wanted in text, wanted
        assert "nan" not in text.lower().replace("maintenance", "")
        assert not re.search(r"<script(?![^>]*src=\"/static/)|<style|style=|\son\w+=|https?://", text)

    def test_a_wide_interval_gets_no_verdict(self) -> None:
        from station.web.report import report_of
        from station.web.texts import texts

        session = runner.session()
        session["metrics"]["pelvic_drop_peak_left_deg"]["ci95"] = 8.6
        session["metrics"]["sway_hw"]["trend_per_min"] = -0.0001
        report = report_of(session, texts("en"))
        assert [row.zone for row in report.headline] == ["unsure", "green"]
        assert next(row.drift for row in report.rows if row.name == "sway_hw") == "0.00"

    def test_what_verify_found_is_told_with_the_run(self, web: WebServer, token: str) -> None:
        text = ask(web, f"/s/{token}").text
        for wanted in ("How far to trust it", "on 6 people", "0.91° ± 0.12", "0.8°", "1.4°", "how the waist looks"):
            assert wanted in text, wanted

    @pytest.mark.parametrize(
        ("source", "verified", "says", "found"),
        [
            ("fused", runner.VERIFIED, "on 6 people", 3),
            ("fused", {**runner.VERIFIED, "people": 1, "gain_sd": None, "gain": None}, "on one person", 2),
            ("fused", None, "never compared", 0),
            ("optical", runner.VERIFIED, "never compared", 0),
            ("tag", runner.VERIFIED, "goes with the pelvis", 0),
            ("tag", None, "goes with the pelvis", 0),
        ],
    )
    def test_a_record_speaks_of_the_estimator_that_measured(
        self, source: str, verified: dict[str, Any] | None, says: str, found: int
    ) -> None:
        from station.web.report import report_of
        from station.web.texts import texts

        session = {**runner.session(), "verified": verified}
        for entry in session["metrics"].values():
            if "source" in entry:
                entry["source"] = source
        checked = report_of(session, texts("en")).checked
        assert checked is not None
        assert says in checked.note
        assert len(checked.found) == found

    def test_nothing_is_said_of_trust_where_no_pelvis_was_measured(self) -> None:
        from station.web.report import report_of
        from station.web.texts import texts

        session = runner.session()
        session["metrics"] = {"cadence_spm": session["metrics"]["cadence_spm"]}
        assert report_of(session, texts("en")).checked is None

    def test_exports_are_the_session(self, web: WebServer, token: str) -> None:
        assert ask(web, f"/s/{token}/session.json").json == runner.session()
        lines = ask(web, f"/s/{token}/session.csv").text.splitlines()
        assert lines[0] == "metric,median,iqr,ci95,n,trend_per_min,zone"
        assert "pelvic_drop_peak_left_deg,7.2,1.6,0.3,1654,0.08,amber" in lines
        assert ask(web, f"/s/{token}/card.svg").headers["content-type"].startswith("image/svg+xml")

    def test_a_stranger_gets_neither_token_nor_code(self, web: WebServer, token: str) -> None:
        stranger = StreamReader(web, **REMOTE)
        until(lambda: stranger.of("snapshot"))
        assert token not in json.dumps(stranger.events)
        stranger.close()
        assert ask(web, f"/s/{token}/qr.svg", **REMOTE).status == 403
        assert ask(web, f"/s/{token}/qr.svg").status == 200
        assert ask(web, f"/s/{token}", **REMOTE).status == 200, "who has the token has the report"

    def test_a_is_not_reached_with_the_token_of_b(self, web: WebServer, engine: Publisher, token: str) -> None:
        engine.say("session", {**runner.session("bbbb1111"), "strides": 77})
        engine.say("state", runner.state("summary", "bbbb1111"))
        until(lambda: (web.hub.latest("report") or {"session": 0})["session"] == "bbbb1111")  # type: ignore[index]
        second = str(web.hub.latest("report")["token"])  # type: ignore[index]
        assert second != token
        assert ask(web, f"/s/{second}/session.json").json["session"] == "bbbb1111"
        assert ask(web, f"/s/{token}/session.json").json["session"] == runner.SESSION
        for wrong in (runner.SESSION, "bbbb1111", second[:-1], second + "A", second.swapcase(), "x" * 5000, "%00", "'"):
            assert ask(web, f"/s/{wrong}/session.json").status == 404

    def test_deleting_asks_the_engine_to_erase_and_nothing_brings_it_back(
        self, web: WebServer, broker: Broker, engine: Publisher, token: str
    ) -> None:
        heard = TestCommands().listen(broker)
        assert ask(web, f"/s/{token}/delete", "POST", "", Origin="http://evil.example").status == 403
        answer = ask(web, f"/s/{token}/delete", "POST", "")
        assert (answer.status, answer.headers["location"]) == (303, "/deleted")
        until(lambda: heard == [("/cmd/erase", {"session": runner.SESSION})])
        assert ask(web, f"/s/{token}").status == 404
        assert web.hub.latest("report") is None
        ignored = web.feed.ignored
        engine.say("session", runner.session())
        until(lambda: web.feed.ignored == ignored + 1)
        assert ask(web, f"/s/{token}").status == 404

    def test_a_session_erased_elsewhere_is_erased_here(self, web: WebServer, engine: Publisher, token: str) -> None:
        engine.say("cmd/erase", {"session": runner.SESSION})
        until(lambda: ask(web, f"/s/{token}").status == 404)

    def test_clearing_the_topic_erases_here_too(self, web: WebServer, engine: Publisher, token: str) -> None:
        engine.say("session", b"")
        until(lambda: ask(web, f"/s/{token}").status == 404)
        until(lambda: web.hub.latest("summary") is None)

    def test_the_screen_forgets_the_summary_when_the_runner_leaves(
        self, web: WebServer, engine: Publisher, token: str
    ) -> None:
        engine.say("state", runner.state("idle", None))
        until(lambda: web.hub.latest("summary") is None)
        assert web.hub.latest("report") is None
        assert ask(web, f"/s/{token}").status == 200

    @given(
        junk=st.dictionaries(
            st.sampled_from(["metrics", "zones", "curves", "cues", "advice", "rejected", "versions", "start", "strides",
                             "duration_s", "verified"]),
            st.recursive(
                st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
                lambda inner: st.lists(inner, max_size=4)
                | st.dictionaries(st.sampled_from(["pelvic_drop_peak_left_deg", "median", "mean", "sd", "obliquity",
                                                   "ci95", "t_s", "cue", "stability", "source", "people",
                                                   "estimator", "gain"]), inner, max_size=4),
                max_leaves=12,
            ),
        )
    )  # fmt: skip
    @hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_malformed_session_makes_a_page_and_no_500(self, junk: dict[str, object]) -> None:
        from station.web.report import csv_of, report_of
        from station.web.texts import texts

        session = {"session": "x", **junk}
        report_of(session, texts("en"))
        csv_of(session)


class TestSetup:
    def test_this_machine_enters_without_a_pin(self, web: WebServer) -> None:
        assert 'id="framing"' in ask(web, "/setup").text

    def test_others_need_the_pin(self, web: WebServer) -> None:
        closed = ask(web, "/setup", **REMOTE)
        assert closed.status == 401
        assert 'id="framing"' not in closed.text
        form = {"Content-Type": "application/x-www-form-urlencoded", **REMOTE}
        wrong = ask(web, "/setup/key", "POST", "pin=1", **form)
        assert (wrong.headers["location"], wrong.headers.get("set-cookie")) == ("/setup?wrong=1", None)
        cookie = ask(web, "/setup/key", "POST", f"pin={PIN}", **form).headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        key = cookie.partition(";")[0]
        assert 'id="framing"' in ask(web, "/setup", Cookie=key, **REMOTE).text
        assert ask(web, "/setup", Cookie="hipline_setup=" + "A" * 32, **REMOTE).status == 401

    def test_guessing_is_slow(self, web: WebServer) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded", **REMOTE}
        answers = [ask(web, "/setup/key", "POST", f"pin={i}", **form).status for i in range(8)]
        assert answers[:5] == [303] * 5
        assert answers[5:] == [429] * 3
        assert ask(web, "/setup/key", "POST", f"pin={PIN}", **form).status == 429

    def test_without_a_pin_nobody_else_enters(
        self, settings: WebSettings, serve: Callable[[WebSettings], WebServer]
    ) -> None:
        web = serve(replace(settings, pin=None))
        assert ask(web, "/setup/key", "POST", "pin=", Content_Type="application/x-www-form-urlencoded",
                   **REMOTE).headers["location"] == "/setup?wrong=1"  # fmt: skip


def test_the_rate_is_limited_per_visitor(settings: WebSettings, serve: Callable[[WebSettings], WebServer]) -> None:
    web = serve(replace(settings, requests_per_s=2.0))
    answers = [ask(web, "/boot.json").status for _ in range(20)]
    assert answers[:12] == [200] * 12
    assert answers[-1] == 429


def test_a_rate_limit_refills_and_forgets_old_visitors() -> None:
    now_s = [0.0]
    limit = RateLimit(1.0, 2.0, visitors=10, clock=lambda: now_s[0])
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]
    now_s[0] = 1.0
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    for i in range(10):
        limit.allows(str(i))
    assert limit.allows("a"), "a visitor long forgotten begins anew"


@given(
    path=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]),
    body=st.binary(max_size=200),
    kind=st.sampled_from(
        ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
    ),
    prefix=st.sampled_from(["/", "/cmd/", "/cmd/start", "/s/", "/setup", "/setup/key", "/static/", "/events/", "/?"]),
)
@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzzed_requests_give_no_500(
    fuzzed: WebServer, path: str, method: str, body: bytes, kind: str, prefix: str
) -> None:
    assert ask(fuzzed, prefix + path.replace("#", ""), method, body, Content_Type=kind).status != 500


@pytest.fixture
def fuzzed(settings: WebSettings, serve: Callable[[WebSettings], WebServer]) -> WebServer:
    return serve(replace(settings, requests_per_s=1e6))


def test_payloads_that_are_no_object_are_ignored(web: WebServer, engine: Publisher) -> None:
    for body in (
        b"nonsense",
        b"[1]",
        b'{"t": NaN}',
        b'{"t": 1e999}',
        b"[" * 7000,
        b'{"x": "' + b"y" * 20000 + b'"}',
        b"\xff",
    ):
        engine.say("live", body)
    until(lambda: web.feed.ignored == 7)
    assert web.hub.latest("live") is None
    engine.say("live", runner.live(1.0))
    until(lambda: web.hub.latest("live") == runner.live(1.0))


def test_the_configuration_must_name_a_broker() -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.host"):
        settings_from(Config())
    config = Config(mqtt=MqttConfig(host="127.0.0.1", port=1999), web=WebConfig(port=8181))
    found = settings_from(config)
    assert (found.broker_port, found.port, found.root) == (1999, 8181, "hipline/v1/gym/station")


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("4711\n")
    broker = MqttConfig(host="127.0.0.1")
    web = WebConfig(pin_file=tmp_path / "pin", public_url="https://gym.example")
    found = settings_from(Config(mqtt=broker, web=web))
    assert (found.pin, found.public_url) == ("4711", "https://gym.example")
    (tmp_path / "pin").write_text("\n")
    with pytest.raises(ConfigError, match=r"web\.pin_file .* is empty"):
        settings_from(Config(mqtt=broker, web=web))
    with pytest.raises(ConfigError, match=r"web\.pin_file: cannot be read"):
        settings_from(Config(mqtt=broker, web=WebConfig(pin_file=tmp_path / "none")))


def test_the_bands_are_those_of_the_profile(web: WebServer, engine: Publisher) -> None:
    """The engine says which bands hold; the page has none of its own."""

    def green() -> object:
        state = web.hub.latest("state")
        assert isinstance(state, dict)
        return state["bands"]["pelvic_drop_peak_left_deg"]

    engine.say("state", runner.state("running", profile="women"))
    until(lambda: web.hub.latest("state") and green() == [7.0, 9.0])
    engine.say("cmd/start", {"profile": "men"})  # whoever asks for it: only the engine's word counts
    engine.say("state", runner.state("idle", None))
    until(lambda: green() == [6.0, 9.0])
    assert not re.search(r"\b[79]\.0\b", (Path(__file__).parents[2] / "station/web/settings.py").read_text())


def test_a_taken_port_is_one_clear_error(web: WebServer, settings: WebSettings) -> None:
    with pytest.raises(ConfigError, match=rf"web\.port = {web.port}: cannot listen there"):
        WebServer(replace(settings, port=web.port, database=None))


def test_vendored_files_are_the_recorded_ones(repository: Path) -> None:
    folder = repository / "station/web/static/fonts"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    recorded = {line.split()[1]: line.split()[0] for line in lines}
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.woff2")}
    assert recorded == found
    assert len(found) == 2
