"""``station bench latency``: what this machine does in a frame's time, on real frames; see :mod:`station.bench.stages`.

``stages`` measures the whole path, ``variants`` every model on every number of threads and what to make of it, ``soak``
whether anything drifts, ``compare`` MediaPipe Pose on the same frames in the same run.
"""

from station.bench.command import bench

__all__ = ["bench"]
