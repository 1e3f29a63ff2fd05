"""After a crash the station sends the last strides again: the next runner must not see them."""

from __future__ import annotations

from station.web.server import WebServer
from tests.web.runner import Publisher, cue, state, stride
from tests.web.stand import until


def test_strides_and_cues_of_another_session_are_not_shown(web: WebServer, engine: Publisher) -> None:
    hub = web.feed._hub
    engine.say("state", state("running", "22222222"))
    until(lambda: hub.latest("state"))
    engine.say("stride", stride(seq=7, session="11111111"))
    engine.say("cue", cue() | {"session": "11111111"})
    engine.say("stride", stride(seq=1, session="22222222"))
    until(lambda: hub.latest("stride"))
    shown = hub.latest("stride")
    assert isinstance(shown, dict)
    assert (shown["session"], shown["seq"]) == ("22222222", 1)
    assert hub.latest("cue") is None
