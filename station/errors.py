"""What can go wrong, grouped by who must act. Every error carries one clear line: the culprit first, then the mend.

``HiplineError`` is the only base the commands catch: they print its text on standard error and exit with ``exit_code``.
Anything else is a bug: it crashes with its traceback, and systemd restarts the station.
"""

from __future__ import annotations


class HiplineError(Exception):
    """Base of all expected failures. ``str(error)`` is exactly one line naming the culprit and the mend."""

    #: What a command exits with: 1 = could not do it, 2 = bad input or configuration.
    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ConfigError(HiplineError):
    """The configuration must be edited: names the file, the key and the mend."""

    exit_code = 2


class SourceError(HiplineError):
    """The file given to a command cannot be used: names the file and why."""

    exit_code = 2


class CameraError(SourceError):
    """The camera or the video cannot be read: names the source. The technician looks at cable, source or file."""


class TrackError(SourceError):
    """The pose track is broken: names the file and the line. Whatever wrote the track must be mended."""


class ModelError(HiplineError):
    """A model is missing, truncated or not the pinned one: names the file; mended by ``station model build``."""

    exit_code = 2


class BrokerError(HiplineError):
    """The MQTT broker cannot be started, reached or refuses us: names host and port."""


class OutboxError(HiplineError):
    """The outbox cannot be opened or written (disk full, read-only, no database): names the file."""


class CalibrationError(HiplineError):
    """What the camera shows of the target does not tell the mount: says what to change on the belt."""


class UpdateError(HiplineError):
    """A release cannot be installed, verified or switched to: names the release and the step."""
