"""Bodies: rest shapes with skinning weights, exported once from ``anny`` (MakeHuman data, CC0) into a cache directory.

After the export nothing but NumPy is needed. ``python -m station.lab.bodies`` exports; everything else calls
:func:`load_library`, which exports when the cache is empty.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station.types import Floats

#: Bones of the lab's runner; ``anny``'s 104 bones fall into these (fingers into hands, eyes into the head, …).
BONES = (
    "pelvis", "spine05", "spine04", "spine03", "spine02", "spine01", "neck", "head",
    "upperarm.L", "lowerarm.L", "hand.L", "upperarm.R", "lowerarm.R", "hand.R",
    "thigh.L", "shank.L", "foot.L", "toes.L", "thigh.R", "shank.R", "foot.R", "toes.R",
)  # fmt: skip
BONE = {name: row for row, name in enumerate(BONES)}

#: Where each lab bone's joint sits: the ``anny`` bone whose head it is.
_HEADS = {
    "pelvis": "root", "neck": "neck01", "head": "head", **{f"spine0{i}": f"spine0{i}" for i in range(1, 6)},
    **{f"{ours}.{s}": f"{theirs}.{s}" for s in "LR" for ours, theirs in {
        "upperarm": "upperarm01", "lowerarm": "lowerarm01", "hand": "wrist", "thigh": "upperleg01",
        "shank": "lowerleg01", "foot": "foot", "toes": "toe2-1"}.items()},
}  # fmt: skip

LIBRARY_SEED, LIBRARY_SIZE = 7, 24
_ARMS = [BONE[f"{part}.{side}"] for part in ("upperarm", "lowerarm", "hand") for side in "LR"]


@dataclass(frozen=True, slots=True)
class Build:
    """How one person differs from the library's body.

    ``belt`` (0..1): how far the flesh from ``belt_m[0]`` to ``belt_m[1]`` above the hip joints goes with the pelvis
    alone. MakeHuman's waist is half spine and no more than a tenth pelvis: its waistband follows a pelvis that is moved
    on its own by 0.6-0.7. On people the sacrum and the iliac crests lie right under the waistband, and soft waists
    occur too. ``width`` and ``depth`` stretch the body, ``hips_m`` moves the hip joint centres apart.
    """

    belt: float = 0.0
    belt_m: tuple[float, float] = (0.03, 0.13)
    width: float = 1.0
    depth: float = 1.0
    hips_m: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class BodyLibrary:
    """All exported bodies: ``vertices_m`` (bodies, n, 3), ``joints_m`` (bodies, bones, 3), ``weights`` (n, bones)."""

    vertices_m: NDArray[np.float32]
    joints_m: NDArray[np.float32]
    faces: NDArray[np.int32]
    weights: NDArray[np.float32]
    female: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """One rest body in the world frame: standing on Y = 0, mid-hip above the origin."""

    vertices_m: Floats
    joints_m: Floats
    faces: NDArray[np.int32]
    weights: Floats
    female: bool

    def joint(self, bone: str) -> Floats:
        """Rest position of the joint a bone hangs from."""
        return np.asarray(self.joints_m[BONE[bone]])

    @property
    def stature_m(self) -> float:
        """Height of the bare body."""
        return float(np.ptp(self.vertices_m[:, 1]))

    @property
    def hip_distance_m(self) -> float:
        """Distance between the hip joint centres."""
        return float(np.linalg.norm(self.joint("thigh.R") - self.joint("thigh.L")))


def cache_dir() -> Path:
    """The lab's cache: ``$XDG_CACHE_HOME/hipline/lab`` or ``~/.cache/hipline/lab``; made when missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = base / "hipline" / "lab"
    path.mkdir(parents=True, exist_ok=True)
    return path


def load_library(path: Path | None = None) -> BodyLibrary:
    """The exported bodies, exporting them first (about two minutes, needs ``anny`` and ``torch``) when missing."""
    path = path or cache_dir() / "bodies.npz"
    if not path.is_file():
        _export(path)
    with np.load(path) as data:
        return BodyLibrary(data["vertices"], data["joints"], data["faces"], data["weights"], data["female"])


def take(library: BodyLibrary, index: int, build: Build | None = None) -> Body:
    """Body ``index`` of the library with anatomical hip joint centres, placed on the floor above the origin.

    MakeHuman hangs the thighs 24-27 cm apart; hip joint centres of people are 16-19 cm apart, about a tenth of stature.
    Only the sideways place of the pivot changes, so the flesh skins as before.
    """
    build = build or Build()
    stretch = np.array([build.width, 1.0, build.depth])
    vertices, joints = library.vertices_m[index] * stretch, library.joints_m[index] * stretch
    stature = float(np.ptp(vertices[:, 1]))
    width = float(np.clip(0.099 * stature + (0.004 if library.female[index] else 0.0), 0.162, 0.188)) + build.hips_m
    left, right = BONE["thigh.L"], BONE["thigh.R"]
    middle = (joints[left] + joints[right]) / 2
    joints[left] = middle - np.array([width / 2, 0, 0])
    joints[right] = middle + np.array([width / 2, 0, 0])
    weights = _belted(library.weights.astype(float), vertices[:, 1] - middle[1], build)
    shift = np.array([middle[0], vertices[:, 1].min(), middle[2]])
    return Body(vertices - shift, joints - shift, library.faces, weights, bool(library.female[index]))


def _belted(weights: Floats, above_hips_m: Floats, build: Build) -> Floats:
    """Weights whose belt goes with the pelvis: what spine and thighs hold of it is handed over, with smooth ends."""
    low, high = build.belt_m
    hold = build.belt * smooth((above_hips_m - low) / 0.03 + 0.5) * smooth((high - above_hips_m) / 0.04 + 0.5)
    kept = weights * (1 - hold)[:, None]
    kept[:, _ARMS] = weights[:, _ARMS]
    kept[:, BONE["pelvis"]] += 1 - kept.sum(axis=1)
    return kept


def smooth(x: Floats) -> Floats:
    """0 below 0, 1 above 1, level at both ends."""
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(x * x * (3 - 2 * x))


def library_specs() -> list[dict[str, float]]:
    """The phenotypes of the library: two plain runners first, then random adults of running build."""
    plain = {"age": 0.62, "muscle": 0.6, "weight": 0.37, "height": 0.5, "proportions": 0.7}
    specs = [{"gender": 1.0, **plain}, {"gender": 0.0, **plain, "muscle": 0.55}]
    rng = np.random.default_rng(LIBRARY_SEED)
    while len(specs) < LIBRARY_SIZE:
        low = {"age": 0.5, "muscle": 0.3, "weight": 0.25, "height": 0.35, "proportions": 0.4}
        high = {"age": 0.8, "muscle": 0.8, "weight": 0.65, "height": 0.7, "proportions": 0.9}
        specs.append({"gender": float(rng.integers(2)), **{k: float(rng.uniform(low[k], high[k])) for k in low}})
    return specs


def _export(path: Path) -> None:
    import anny  # noqa: PLC0415  (heavy, and only ever needed once)
    import torch  # noqa: PLC0415

    print("exporting bodies from anny (once, about two minutes) ...", flush=True)
    model: Any = anny.Anny(topology="anny-full", local_changes="default").to(dtype=torch.float32)
    labels: list[str] = list(model.bone_labels)
    parents: list[int] = [int(p) for p in model.bone_parents]
    faces = np.asarray(model.faces)
    used = np.unique(faces)
    renumber = np.full(int(faces.max()) + 1, -1)
    renumber[used] = np.arange(len(used))
    vertices, joints = [], []
    specs = library_specs()
    pose = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
    for number, spec in enumerate(specs):
        phenotype = {k: torch.tensor([spec[k]]) for k in model.phenotype_labels}
        out = model(pose_parameters=pose, phenotype_kwargs=phenotype)
        vertices.append(_to_world(out["rest_vertices"][0].numpy())[used])
        heads = _to_world(out["rest_bone_heads"][0].numpy())
        joints.append(np.stack([heads[labels.index(_HEADS[b])] for b in BONES]))
        print(f"  body {number + 1}/{len(specs)}", flush=True)
    weights = _merge_weights(model, labels, parents)[used]
    partial = path.with_suffix(".part.npz")
    np.savez_compressed(
        partial, vertices=np.asarray(vertices, "f4"), joints=np.asarray(joints, "f4"),
        faces=renumber[faces].astype("i4"), weights=weights.astype("f4"),
        female=np.array([s["gender"] > 0.5 for s in specs]),
    )  # fmt: skip
    partial.replace(path)


def _to_world(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """From ``anny`` (X left, Y backward, Z up) to the product's world (X right, Y up, Z backward)."""
    return np.stack([-points[..., 0], points[..., 2], points[..., 1]], axis=-1)


def _merge_weights(model: Any, labels: list[str], parents: list[int]) -> Floats:
    owner: list[int] = []
    for index, label in enumerate(labels):
        lab = _lab_bone(label)
        owner.append(BONE[lab] if lab else owner[parents[index]])
    bones, shares = np.asarray(model.vertex_bone_indices), np.asarray(model.vertex_bone_weights, dtype=float)
    merged = np.zeros((len(bones), len(BONES)))
    rows = np.repeat(np.arange(len(bones))[:, None], bones.shape[1], axis=1)
    np.add.at(merged, (rows, np.asarray(owner)[bones]), shares)
    return np.asarray(merged / np.maximum(merged.sum(axis=1, keepdims=True), 1e-9))


def _lab_bone(label: str) -> str | None:
    stem, _, side = label.partition(".")
    table = {"root": "pelvis", "neck01": "neck", "head": "head"}
    if stem in table or stem.startswith("spine"):
        return table.get(stem, stem)
    limbs = {"upperleg01": "thigh", "lowerleg01": "shank", "foot": "foot", "upperarm01": "upperarm",
             "lowerarm01": "lowerarm", "wrist": "hand"}  # fmt: skip
    if stem in limbs:
        return f"{limbs[stem]}.{side}"
    return f"toes.{side}" if stem.startswith("toe") else None


if __name__ == "__main__":
    shapes = load_library()
    for row in range(len(shapes.female)):
        body = take(shapes, row)
        sex = "woman" if body.female else "man"
        print(f"{row:2d} {sex:5s} stature {body.stature_m:.2f} m, hips {body.hip_distance_m * 1000:.0f} mm apart")
