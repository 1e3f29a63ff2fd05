"""Starting by phone: the page that the QR code of the idle screen opens."""

from __future__ import annotations

from flask import Flask, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from station.web.report_routes import code_svg, language
from station.web.rooms import Rooms, theme

PROFILES = ("", "women", "men")


def add_start(app: Flask, rooms: Rooms) -> None:
    """``/go/<key>``: the runner's phone chooses the zones and starts. The key is the permission."""

    def page(state: str, key: str = "", status: int = 200) -> Response:
        station = rooms.settings.station
        body = render_template("go.html", t=language(), theme=theme(), station=station, state=state, key=key)
        return Response(body, status=status)

    @app.get("/go/<key>")
    def go(key: str) -> Response:
        return page("choose", key) if rooms.feed.start_keys.good(key) else page("gone", status=410)

    @app.get("/go/<key>/qr.svg")
    def go_code(key: str) -> Response:
        if not rooms.trusted():
            abort(403)
        if not rooms.feed.start_keys.good(key):
            abort(404)
        return code_svg(rooms.feed.start_url(key))

    @app.post("/go/<key>")
    def start(key: str) -> BaseResponse:
        profile = request.form.get("profile", "")
        if profile not in PROFILES:
            abort(400)
        if not rooms.feed.start_keys.good(key):
            return page("gone", status=410)
        if not rooms.feed.command("start", {"profile": profile} if profile else {}):
            return page("away", key, 503)
        rooms.feed.start_keys.withdraw()
        return redirect(url_for("started"), 303)

    @app.get("/started")
    def started() -> Response:
        return page("started")
