"""How long ``Session.feed`` takes on a frame, for two source trees in turns: ``kernel_feed.py NEW OLD``.

``kernel_feed.py --one TREE`` measures one tree and prints microseconds of CPU per frame, mean and 99th percentile.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

#: This much slower is a regression: the smaller half of the noise between runs on a busy machine is 10 %.
LIMIT = 1.25


def one(tree: str, seconds: float) -> dict[str, float]:
    """CPU time of every frame of a runner made of formulas, at 60 frames a second."""
    import station  # noqa: PLC0415 - of the tree on PYTHONPATH

    if not str(station.__file__).startswith(tree):
        raise SystemExit(f"kernel_feed: {station.__file__} is not of {tree}")
    from station.lab.analytic import RunnerSpec, run  # noqa: PLC0415
    from station.lab.project import Condition, observe, view_of  # noqa: PLC0415
    from station.session import Session  # noqa: PLC0415

    condition = Condition(fps=60.0, pelvis_sd_deg=0.5)
    seen = list(observe(run(RunnerSpec(), seconds=seconds), condition))
    session = Session(view_of(condition))
    took_us = []
    for observation in seen:
        start_ns = time.thread_time_ns()
        session.feed(observation)
        took_us.append((time.thread_time_ns() - start_ns) / 1000)
    took_us.sort()
    return {"mean_us": statistics.fmean(took_us), "p99_us": took_us[len(took_us) * 99 // 100]}


def main() -> int:
    """See the head of this file."""
    seconds = float(os.environ.get("BENCH_SECONDS", "60"))
    if sys.argv[1] == "--one":
        print(json.dumps(one(sys.argv[2], seconds)))
        return 0
    new, old = sys.argv[1:3]
    found: dict[str, list[dict[str, float]]] = {new: [], old: []}
    for _ in range(int(os.environ.get("BENCH_ROUNDS", "5"))):
        for tree, results in found.items():
            command = [sys.executable, __file__, "--one", tree]
            environment = {**os.environ, "PYTHONPATH": tree, "PYTHONSAFEPATH": "1"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            results.append(json.loads(done.stdout))
    best = {tree: {key: min(one[key] for one in results) for key in results[0]} for tree, results in found.items()}
    ratio = best[new]["mean_us"] / best[old]["mean_us"]
    for name, tree in (("new", new), ("old", old)):
        print(f"kernel_feed {name}: {best[tree]['mean_us']:.0f} µs a frame, p99 {best[tree]['p99_us']:.0f} µs")
    print(f"ratio {ratio:.3f} (a regression above {LIMIT})")
    return 1 if ratio > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
