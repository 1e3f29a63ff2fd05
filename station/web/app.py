"""The Flask application: the page, its stream, its few commands. No route reaches a frame: there is none here."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response, abort, jsonify, render_template, request

from station.web.archive import Archive
from station.web.feed import Feed
from station.web.guard import Keys, RateLimit, add_headers, is_same_origin
from station.web.hub import Hub, Stream, TooManyStreamsError
from station.web.report_routes import add_report
from station.web.rooms import Rooms, app_version, theme
from station.web.settings import WebSettings
from station.web.setup_routes import add_setup
from station.web.start import add_start
from station.web.texts import languages

#: Commands a page may send and the fields it may send with them.
_PAGE_COMMANDS = {"start": ("profile",), "stop": (), "baseline": ()}
_PROFILES = (None, "women", "men")
MAX_BODY_BYTES = 4096


def create_app(settings: WebSettings, hub: Hub, archive: Archive, feed: Feed, url: Callable[[str], str]) -> Flask:
    """The application around a hub, an archive and a feed (who starts and stops them is the caller's business)."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 300
    rooms = Rooms(settings, hub, archive, feed, Keys(settings.pin), url)
    app.extensions["hipline"] = rooms
    _guard(app, settings)
    _page(app, rooms)
    _stream(app, rooms)
    _commands(app, rooms)
    add_report(app, rooms)
    add_start(app, rooms)
    add_setup(app, rooms)
    return app


def _guard(app: Flask, settings: WebSettings) -> None:
    pages = RateLimit(settings.requests_per_s, 6 * settings.requests_per_s)
    changes = RateLimit(1.0, 8.0)

    @app.before_request
    def limit() -> Response | None:
        visitor = request.remote_addr or "?"
        allowed = pages.allows(visitor)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            allowed = allowed and changes.allows(visitor)
            if not is_same_origin(request):
                abort(403)
        if not allowed:
            return _plain("too many requests: wait a moment\n", 429, {"Retry-After": "2"})
        return None

    app.after_request(add_headers)

    def refuse(code: int, text: str) -> Callable[[Exception], Response]:
        return lambda _error: _plain(text + "\n", code)

    for code, text in ((400, "not understood"), (403, "not allowed"), (404, "not found"), (405, "not allowed"),
                       (413, "too long"), (415, "JSON wanted"), (429, "too many tries: wait a moment")):  # fmt: skip
        app.register_error_handler(code, refuse(code, text))


def _plain(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status=status, headers=headers, mimetype="text/plain")


def _page(app: Flask, rooms: Rooms) -> None:
    @app.get("/")
    def screen() -> str:
        return render_template("screen.html", station=rooms.settings.station, theme=theme())

    @app.get("/boot.json")
    def boot() -> Response:
        return jsonify(
            station=rooms.settings.station,
            version=app_version(),
            trusted=rooms.trusted(),
            languages=languages(),
            heartbeat_s=rooms.settings.heartbeat_s,
        )

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(ok=True, broker=rooms.feed.connected, streams=rooms.hub.streams)


def _stream(app: Flask, rooms: Rooms) -> None:
    @app.get("/events")
    def events() -> Response:
        try:
            viewer = rooms.hub.open(rooms.trusted())
        except TooManyStreamsError:
            return _plain("all streams are taken: try again later\n", 503, {"Retry-After": "10"})
        gone: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
        stream = Stream(rooms.hub, viewer, rooms.settings.heartbeat_s, gone)
        return Response(stream, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _commands(app: Flask, rooms: Rooms) -> None:
    @app.post("/cmd/<name>")
    def command(name: str) -> Response:
        if name not in _PAGE_COMMANDS:
            abort(404)
        if not rooms.trusted():
            abort(403)
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            abort(415)
        if set(body) - set(_PAGE_COMMANDS[name]) or body.get("profile") not in _PROFILES:
            abort(400)
        if not rooms.feed.command(name, {key: value for key, value in body.items() if value is not None}):
            return _plain("the broker is not reached\n", 503)
        return Response(status=204)
