"""Video files through PyAV: times from the container, rotation honoured, every frame or paced like a camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from station.errors import CameraError
from station.types import Frame, Mount, Pixels, View

#: Containers that ffmpeg makes up for what is no video: still pictures, text.
_NO_VIDEO = ("image2", "tty", "ico", "alias_pix", "brender_pix")
#: Quarter turns counter-clockwise that upright a picture.
_TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}
#: A file whose frames end this much before the length its header promises was cut off.
_MISSING_S = 1.0


class VideoFile:
    """A video file as a camera.

    ``live=False`` gives every frame as fast as it is read and then ``None``. ``live=True`` paces frames as a camera
    would and starts over at the end without a seam: times go on, the first frame follows the last by one frame
    duration. Frames are I420 (``yuv420``), or ``rgb`` when a side of the picture is odd. Raises :class:`CameraError` in
    one line for what cannot be played; a file that breaks off gives its good frames first.
    """

    def __init__(self, path: Path, mount: Mount | None = None, *, live: bool = False) -> None:
        self.path = path
        self._live = live
        self._closed = False
        self._index = 0
        self._offset_s = 0.0  # added to the container's times from the second round on
        self._last_s = float("-inf")
        self._epoch_s: float | None = None  # monotonic time that belongs to t = 0 while live
        self._container, self._stream = _open(path)
        self._frames = self._decode()
        self._first = next(self._frames, None)
        if self._first is None:
            raise CameraError(f"{path}: not one frame could be decoded; copy or record the file again")
        width, height = self._picture(self._first).size_px
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._view = View(width, height, float(rate) if rate else 30.0, mount or Mount())
        self._promised_s = _promised_s(self._stream)

    @property
    def name(self) -> str:
        """File, size and rate."""
        view = self._view
        return f"{self.path} ({view.width_px}x{view.height_px}, {view.fps:.4g} fps)"

    @property
    def view(self) -> View:
        """Size after rotation, mean frame rate, mount."""
        return self._view

    @property
    def exposure(self) -> None:
        """A recording does not say."""
        return None

    @property
    def frame_count(self) -> int | None:
        """How many frames the header promises, for progress; ``None`` when it does not say."""
        return self._stream.frames or None

    def read(self) -> Frame | None:
        """The next frame in file order; see the class for what happens at the end."""
        while not self._closed:
            decoded = self._first or next(self._frames, None)
            self._first = None
            if decoded is None:
                self._check_length()
                if not self._live:
                    return None
                self._rewind()
                continue
            t_s = self._time_s(decoded)
            if t_s <= self._last_s:
                continue  # a repeated or backward time stamp: the picture has no time of its own
            self._last_s = t_s
            frame = self._picture(decoded, t_s)
            self._index += 1
            if self._live:
                self._pace(t_s)
            return frame
        return None

    def close(self) -> None:
        """Close the file."""
        if not self._closed:
            self._closed = True
            self._container.close()

    def _decode(self) -> Iterator[VideoFrame]:
        decoded = 0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    for frame in packet.decode():
                        decoded += 1
                        yield frame
                except av.error.InvalidDataError:
                    if decoded:  # before the first key frame rubbish is normal in a recorded broadcast
                        raise
        except (av.error.FFmpegError, OSError, IndexError) as error:  # IndexError: PyAV met a stream the header hides
            at = max(0.0, self._last_s - self._offset_s)
            raise CameraError(
                f"{self.path}: damaged after {at:.2f} s ({_why(error)}); copy or record it again"
            ) from None

    def _time_s(self, decoded: VideoFrame) -> float:
        if decoded.pts is None or decoded.time_base is None:
            return self._last_s + 1.0 / self._view.fps if self._index else 0.0
        return float(decoded.pts * decoded.time_base) + self._offset_s

    def _picture(self, decoded: VideoFrame, t_s: float = 0.0) -> Frame:
        width, height = _square_pixels(decoded, self._stream)
        even = width % 2 == 0 and height % 2 == 0
        if (decoded.width, decoded.height) != (width, height) or not even or decoded.format.name not in _PLANAR:
            decoded = decoded.reformat(width=width, height=height, format="yuv420p" if even else "rgb24")
        turn = _TURNS.get(decoded.rotation % 360)
        image = np.asarray(decoded.to_ndarray(), dtype=np.uint8)
        if turn is not None:
            image = _turn_i420(image, turn) if even else np.asarray(cv2.rotate(image, turn), dtype=np.uint8)
        return Frame(t_s, self._index, image, "yuv420" if even else "rgb")

    def _check_length(self) -> None:
        """Complain once everything readable was given, when the header promised more."""
        if self._promised_s is None:
            return
        got_s = self._last_s - self._offset_s
        if got_s < self._promised_s - max(_MISSING_S, 0.05 * self._promised_s):
            raise CameraError(
                f"{self.path}: ends after {got_s:.2f} s of {self._promised_s:.2f} s: "
                "the file was cut off; copy or record it again"
            )

    def _rewind(self) -> None:
        self._container.close()
        self._container, self._stream = _open(self.path)
        self._frames = self._decode()
        self._first = next(self._frames, None)
        if self._first is not None and self._first.pts is not None and self._first.time_base is not None:
            start_s = float(self._first.pts * self._first.time_base)
            self._offset_s = self._last_s + 1.0 / self._view.fps - start_s

    def _pace(self, t_s: float) -> None:
        now_s = time.monotonic()
        if self._epoch_s is None or now_s - self._epoch_s - t_s > 1.0:
            self._epoch_s = now_s - t_s  # first frame, or hopelessly late: do not race to catch up
        time.sleep(max(0.0, self._epoch_s + t_s - now_s))


#: ffmpeg's AVFMT_NOTIMESTAMPS: a bare stream, whose times ffmpeg would invent.
_NO_TIMESTAMPS = 0x80
#: 8-bit 4:2:0 planes in the order of I420; the j form differs in range only.
_PLANAR = ("yuv420p", "yuvj420p")


def _open(path: Path) -> tuple[av.container.InputContainer, VideoStream]:
    _refuse_no_file(path)
    try:
        # "file:" keeps a colon in a name from being taken for a protocol; nothing else may be opened from inside
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise CameraError(
            f"{path}: not a video, or cut off before its index was written ({_why(error)}); copy or record it again"
        ) from None
    kind = container.format.name
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams or kind in _NO_VIDEO or kind.endswith("_pipe"):
        what = "sound only" if container.streams.audio and not streams else "a picture or text" if streams else kind
        container.close()
        raise CameraError(f"{path}: holds no video ({what}); give a video file or a pose track")
    if container.format.flags & _NO_TIMESTAMPS:
        container.close()
        raise CameraError(
            f"{path}: a bare {kind} stream without times; put it into a container at its true rate, "
            "as in `ffmpeg -r 60 -i IN -c copy OUT.mp4`"
        )
    stream = streams[0]
    try:
        stream.thread_type = "AUTO"
    except (AttributeError, RuntimeError):  # PyAV leaves the codec context out when ffmpeg has no decoder for it
        container.close()
        raise CameraError(f"{path}: its codec is unknown here; convert it to H.264") from None
    return container, stream


def _refuse_no_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise CameraError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise CameraError(f"{path}: cannot be read ({error.strerror})") from None
    if path.is_dir():
        raise CameraError(f"{path}: is a folder; give a video file or a pose track")
    if not path.is_file():
        raise CameraError(f"{path}: is a pipe or a device; give a video file or a pose track")
    if size == 0:
        raise CameraError(f"{path}: is empty (0 bytes); copy or record it again")


def _promised_s(stream: VideoStream) -> float | None:
    """When the last frame begins according to the header."""
    if not stream.duration or stream.time_base is None or not stream.frames:
        return None
    start = stream.start_time or 0
    return float((start + stream.duration) * stream.time_base) * (1 - 1 / max(2, stream.frames))


def _square_pixels(decoded: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Picture size in square pixels: an anamorphic recording would falsify every angle."""
    aspect = stream.sample_aspect_ratio
    if not aspect or aspect == 1:
        return decoded.width, decoded.height
    return 2 * round(decoded.width * float(aspect) / 2), decoded.height


def _turn_i420(image: Pixels, turn: int) -> Pixels:
    """Rotate an I420 picture plane by plane, which copies bytes and converts nothing."""
    rows, width = image.shape
    height = rows * 2 // 3
    luma = cv2.rotate(image[:height], turn)
    chroma = image[height:].reshape(2, height // 2, width // 2)
    parts = [luma, *(cv2.rotate(plane, turn) for plane in chroma)]
    flat = np.concatenate([np.asarray(part, dtype=np.uint8).ravel() for part in parts])
    return flat.reshape(-1, luma.shape[1])


def _why(error: BaseException) -> str:
    return str(getattr(error, "strerror", "") or error).strip()
