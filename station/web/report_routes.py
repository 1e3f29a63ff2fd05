"""The routes of a session's report: reached by its token alone, gone when the runner says so."""

from __future__ import annotations

import io
import json
from typing import Any

import segno
from flask import Flask, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from station.web.report import csv_of, report_of
from station.web.rooms import Rooms, theme
from station.web.texts import Texts, languages, texts


def add_report(app: Flask, rooms: Rooms) -> None:
    """``/s/<token>`` and what belongs to it. An unknown, expired or erased token is simply not found."""

    def found(token: str) -> dict[str, Any]:
        session = rooms.archive.find(token) if len(token) <= 64 else None
        if session is None:
            abort(404)
        return session

    @app.get("/s/<token>")
    def report(token: str) -> str:
        t = language()
        return render_template("report.html", report=report_of(found(token), t), t=t, token=token, theme=theme())

    @app.get("/s/<token>/session.json")
    def session_file(token: str) -> Response:
        return _download(json.dumps(found(token), indent=1), "application/json", "hipline-session.json")

    @app.get("/s/<token>/session.csv")
    def table_file(token: str) -> Response:
        return _download(csv_of(found(token)), "text/csv", "hipline-session.csv")

    @app.get("/s/<token>/card.svg")
    def card(token: str) -> Response:
        t = language()
        picture = render_template("card.svg", report=report_of(found(token), t), t=t)
        return Response(picture, mimetype="image/svg+xml")

    @app.get("/s/<token>/qr.svg")
    def code(token: str) -> Response:
        found(token)
        if not rooms.trusted():
            abort(403)
        return code_svg(rooms.url(f"s/{token}"))

    @app.post("/s/<token>/delete")
    def delete(token: str) -> BaseResponse:
        session = str(found(token)["session"])
        rooms.archive.erase(session)
        rooms.feed.forget_session(session)
        return redirect(url_for("deleted"), 303)

    @app.get("/deleted")
    def deleted() -> str:
        return render_template("deleted.html", t=language(), theme=theme())


def language() -> Texts:
    """The texts in the visitor's language: ``?lang=``, else what the browser prefers, else English."""
    asked = request.args.get("lang")
    return texts(asked or request.accept_languages.best_match(languages()))


def code_svg(address: str) -> Response:
    """A QR code as a picture without a size of its own."""
    out = io.BytesIO()
    segno.make(address, error="m", micro=False).save(
        out, kind="svg", border=3, dark="#000", light="#fff", svgclass=None, lineclass=None, omitsize=True
    )
    return Response(out.getvalue(), mimetype="image/svg+xml")


def _download(body: str, mimetype: str, name: str) -> Response:
    return Response(body, mimetype=mimetype, headers={"Content-Disposition": f'attachment; filename="{name}"'})
