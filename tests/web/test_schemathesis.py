"""Schemathesis against every route there is: whatever is asked, however it is asked, no answer is the server's fault.

The description it works from is made of the application's own routes, so that none can be forgotten. The server is the
real one with its broker; schemathesis calls its application over WSGI.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.schemas import OpenApiSchema

from station.web.app import create_app
from station.web.archive import Archive
from station.web.feed import Feed
from station.web.hub import Hub
from station.web.server import WebServer
from station.web.settings import WebSettings
from tests.web import runner
from tests.web.conftest import PIN
from tests.web.stand import Broker, until

# Deleting uses up a token and starting uses up a key: these stand for one that is made at the moment of the call.
TOKEN, KEY = "A-GOOD-TOKEN", "A-GOOD-KEY"
#: Every request is made twice: at the station, which is trusted, and from elsewhere.
VISITORS = ("127.0.0.1", "192.0.2.7")
#: What opens a door, by the name of the route's argument; an argument that is not here gets arbitrary text alone.
GOOD = {"token": [TOKEN], "key": [KEY], "name": ["start", "stop", "baseline"], "filename": ["screen.css"]}
PROFILE = {"anyOf": [{"enum": ["women", "men"]}, {"type": "string"}]}
PIN_TRIED = {"anyOf": [{"enum": [PIN]}, {"type": "string"}]}
BODY: dict[str, Any] = {
    "application/json": {
        "schema": {"type": "object", "properties": {"profile": PROFILE}, "additionalProperties": False},
        "example": {"profile": "women"},
    },
    "application/x-www-form-urlencoded": {
        "schema": {"type": "object", "properties": {"profile": PROFILE, "pin": PIN_TRIED}},
        "example": {"profile": "women"},
    },
    "text/plain": {"schema": {"type": "string"}},
}
#: What some route reads of a request beside its path and body.
READ_ANYWHERE = [
    {"name": name, "in": place, "schema": {"type": "string"}}
    for place, names in {
        "query": ("lang", "theme", "wrong"),
        "header": ("Accept-Language",),
        "cookie": ("hipline_setup",),
    }.items()
    for name in names
]


def description(app: Flask) -> dict[str, Any]:
    """An OpenAPI description of every rule and method of ``app``."""
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<>:]+:)?(\w+)>", r"{\1}", rule.rule)
        given = [_argument(name) for name in sorted(rule.arguments)]
        for method in rule.methods or ():
            body = {"requestBody": {"content": BODY}} if method in ("POST", "PUT", "PATCH") else {}
            paths[path][method.lower()] = {
                "parameters": given + READ_ANYWHERE,
                "responses": {"default": {"description": "any"}},
                **body,
            }
    return {"openapi": "3.0.3", "info": {"title": "station", "version": "1"}, "paths": dict(paths)}


def _argument(name: str) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string", "minLength": 1}
    argument = {"name": name, "in": "path", "required": True}
    if name not in GOOD:
        return {**argument, "schema": text}
    return {**argument, "schema": {"anyOf": [{"enum": GOOD[name]}, text]}, "example": GOOD[name][0]}


def _described() -> OpenApiSchema:
    """The description of an application that nothing is behind: only its routes are read here."""
    settings, hub, archive = WebSettings(), Hub(), Archive(None)
    app = create_app(settings, hub, archive, Feed(settings, hub, archive, _url), _url)
    # A stream never ends by itself: one event of it (the snapshot), then the visitor hangs up.
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(max_stream_events=1)))
    return schemathesis.openapi.from_dict(description(app), config=config)


def _url(path: str) -> str:
    return f"http://treadmill.gym:8080/{path}"


@pytest.fixture(scope="module")
def station(mosquitto_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """One server with its broker for all requests, as ``web`` is for one test."""
    folder = tmp_path_factory.mktemp("station")
    broker = Broker(mosquitto_path, folder)
    broker.start()
    server = WebServer(
        WebSettings(
            port=0, broker_port=broker.port, root=runner.ROOT, station="tm-07", database=folder / "web.sqlite",
            requests_per_s=1e6, pin=PIN, public_url=_url("").rstrip("/"),
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.feed.connected)
    yield server
    server.stop()
    thread.join(10)
    broker.stop()
    assert not thread.is_alive(), "the web server did not end"


@pytest.fixture
def statuses(station: WebServer) -> Iterator[set[int]]:
    """The statuses of one method of one route: it must have done what it is for, not refused alone."""
    seen: set[int] = set()
    yield seen
    assert min(seen, default=599) < 400, seen
    assert station.hub.streams == 0, "every stream was closed"


@pytest.fixture(scope="module")
def true_words(station: WebServer) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Puts a token and a key that are good now where a path asks for them."""
    numbers = itertools.count()

    def put(arguments: dict[str, Any]) -> dict[str, Any]:
        put_in = dict(arguments)
        if put_in.get("token") == TOKEN:
            session = f"run{next(numbers)}"
            station.archive.keep(session, runner.session(session))
            put_in["token"] = station.archive.mint(session)
        if put_in.get("key") == KEY:
            put_in["key"] = station.feed.start_keys.offer()
        return put_in

    return put


SCHEMA = _described()


def test_every_method_of_every_route_is_described(station: WebServer) -> None:
    routes = station.app.url_map.bind("localhost")
    found = set()
    for result in SCHEMA.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        method = operation.method.upper()
        rule, _arguments = routes.match(re.sub(r"[{}]", "", operation.path), method, return_rule=True)
        found.add((rule.rule, method))
    there = {(rule.rule, method) for rule in station.app.url_map.iter_rules() for method in rule.methods or ()}
    assert found == there


@SCHEMA.parametrize()
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_is_answered_with_a_server_error(
    case: schemathesis.Case[Any],
    station: WebServer,
    statuses: set[int],
    true_words: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    arguments = case.path_parameters or {}
    for visitor in VISITORS:
        case.path_parameters = true_words(arguments)
        where: dict[str, Any] = {"app": _application(station, case.method), "environ_base": {"REMOTE_ADDR": visitor}}
        answer = case.call(**where)
        if case.method == "POST" and answer.status_code == 503:  # commands came faster than the broker takes them
            time.sleep(1.0)
            answer = case.call(**where)
        case.validate_response(answer, checks=[not_a_server_error])
        if case.method == case.operation.method.upper():  # some cases try a method that the route does not have
            statuses.add(answer.status_code)


def _application(station: WebServer, method: str) -> Flask:
    """The server's own; for what changes something a new one around the same parts.

    Changes are limited to eight at once and tries of the PIN to five: the rest would be answered 429 and test nothing.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return station.app
    return create_app(station.settings, station.hub, station.archive, station.feed, _url)
