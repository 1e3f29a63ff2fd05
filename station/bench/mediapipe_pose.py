"""Runs under an interpreter that has MediaPipe, and knows nothing of the station.

``mediapipe_pose.py CLIP FRAMES COMPLEXITY LITE.tflite`` prints frames and CPU seconds spent in MediaPipe Pose as JSON;
decoding and colour conversion are not counted. COMPLEXITY is 0 (lite) or 1 (full). MediaPipe's wheel carries the full
model alone: the lite one is put where MediaPipe would download it to.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """See the head of this file."""
    import cv2  # noqa: PLC0415 - another environment's
    import mediapipe  # noqa: PLC0415

    clip, count, complexity = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    place = Path(mediapipe.__file__).parent / "modules/pose_landmark/pose_landmark_lite.tflite"
    if not place.exists():
        shutil.copy(sys.argv[4], place)
    pose = mediapipe.solutions.pose.Pose(model_complexity=complexity)
    video = cv2.VideoCapture(clip)
    done, cpu_s, warm_up = 0, 0.0, 10
    ready: list[Any] = []
    while len(ready) < count + warm_up:
        good, picture = video.read()
        if not good:
            break
        ready.append(picture)
    video.release()  # the decoder's threads must not count for MediaPipe
    for picture in ready:
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        start_s = time.process_time()
        pose.process(rgb)
        if done >= warm_up:
            cpu_s += time.process_time() - start_s
        done += 1
    print(json.dumps({"frames": done - warm_up, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
