"""The technician's page: on this machine, or with the PIN. Framing is judged from keypoints: there is no picture."""

from __future__ import annotations

from flask import Flask, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from station.web.guard import COOKIE, RateLimit
from station.web.report_routes import language
from station.web.rooms import Rooms, app_version, theme


def add_setup(app: Flask, rooms: Rooms) -> None:
    """``/setup`` and its key."""
    tries = RateLimit(0.05, 5.0)

    @app.get("/setup")
    def setup() -> Response:
        page = "setup.html" if rooms.trusted() else "pin.html"
        body = render_template(
            page, t=language(), theme=theme(), station=rooms.settings.station, version=app_version(),
            possible=rooms.keys.possible, wrong="wrong" in request.args,
        )  # fmt: skip
        return Response(body, status=200 if rooms.trusted() else 401)

    @app.post("/setup/key")
    def key() -> BaseResponse:
        if not tries.allows("all"):
            abort(429)
        cookie = rooms.keys.enter(request.form.get("pin", ""))
        if cookie is None:
            return redirect(url_for("setup", wrong=1), 303)
        answer = redirect(url_for("setup"), 303)
        answer.set_cookie(COOKIE, cookie, max_age=8 * 3600, httponly=True, samesite="Strict", secure=request.is_secure)
        return answer
