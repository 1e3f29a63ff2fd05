"""Off-screen rendering on the CPU: moderngl on EGL (llvmpipe), two soft shadow maps, multisampling, linear light."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from station.lab import shaders
from station.lab.garments import Dressed
from station.lab.pinhole import Pinhole
from station.lab.scene import Solid
from station.types import Floats

_SHADOW_PX = 1536
_FORMAT = ("3f", "3f", "3f", "3f", "1f", "1f")
_NAMES = ("p", "n", "c", "r", "k", "g")


@dataclass(frozen=True, slots=True)
class Light:
    """A gym's light: directions point toward the light, colours are linear intensities."""

    key: tuple[float, float, float] = (-0.9, 2.4, 1.5)
    key_colour: tuple[float, float, float] = (0.80, 0.76, 0.69)
    ambient: tuple[float, float, float] = (0.50, 0.52, 0.55)
    rim: tuple[float, float, float] = (1.0, 0.6, -0.6)
    rim_colour: tuple[float, float, float] = (0.10, 0.11, 0.13)
    softness: float = 0.010


@dataclass(frozen=True, slots=True)
class Weave:
    """How a garment's cloth looks.

    ``print``: 0 none, 1 stripes, 2 checks, 3 dots, 4 side panels, 5 fading out upward, 6 lettering; in ``colour``,
    ``per_m`` repeats a metre, ``slant`` radians, ``contrast`` 0..1. ``fold_rate`` and ``fold_depth`` scale the folds,
    ``shine`` the gloss; ``wrap`` (0..1) lets light reach round, as rough cloth does.
    """

    print: int = 0
    per_m: float = 20.0
    contrast: float = 0.0
    slant: float = 0.0
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    fold_rate: float = 1.0
    fold_depth: float = 1.0
    shine: float = 1.0
    wrap: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """What varies of the surfaces: ``seed`` shifts every noise, ``wall`` picks paint, brick or panels.

    ``cloth`` is the shading method of runner and garments: 0 folds and ribs, 1 printed cloth under flat studio light.
    The second is kept out of training sets: scores on it tell how much a model leans on the first. ``weave``: the cloth
    of bottoms and shirt.
    """

    seed: tuple[float, float, float] = (0.0, 0.0, 0.0)
    wall: int = 0
    cloth: int = 0
    belt_period_m: float = 3.0
    weave: tuple[Weave, Weave] = (Weave(), Weave())


@dataclass(slots=True, eq=False)
class _Drawable:
    buffers: list[Any]
    picture: Any
    shadow: Any
    depth: Any
    clothed: Dressed | None = field(default=None)

    def release(self) -> None:
        for thing in (*self.buffers, self.picture, self.shadow, self.depth):
            thing.release()


class Renderer:
    """Draws one window of a picture; make one per window size (each owns an OpenGL context)."""

    def __init__(self, width_px: int, height_px: int, samples: int = 4, shadow_px: int = _SHADOW_PX) -> None:
        os.environ.setdefault("LP_NUM_THREADS", "2")
        self.size_px, self._shadow_px = (width_px, height_px), shadow_px
        make: Any = moderngl.create_standalone_context  # its type hints know no backend
        context: Any = make(backend="egl")
        self._context = context
        self._programs = [
            context.program(shaders.VERTEX, shaders.FRAGMENT.replace("WHICH", str(kind)))
            for kind in (shaders.RUNNER, shaders.NEAR, shaders.STILL)
        ]
        self._depth_program = context.program(shaders.DEPTH_VERTEX, shaders.DEPTH_FRAGMENT)
        self._shadow_program = context.program(shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT)
        self._many = context.framebuffer(
            [context.renderbuffer(self.size_px, 4, samples=samples, dtype="f2")],
            context.depth_renderbuffer(self.size_px, samples=samples),
        )
        self._one = context.framebuffer([context.texture(self.size_px, 4, dtype="f2")])
        self._maps = [self._shadow_map() for _ in range(2)]
        grain = np.random.default_rng(0).integers(0, 256, 32**3).astype("u1")
        self._noise = context.texture3d((32, 32, 32), 1, grain.tobytes())
        self._noise.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._field = context.texture3d((64, 64, 64), 4, _noise_field().astype("f2").tobytes(), dtype="f2")
        self._field.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._solids: list[_Drawable] = []
        self._runner: _Drawable | None = None
        context.enable(moderngl.DEPTH_TEST)

    def _shadow_map(self) -> tuple[Any, Any]:
        depth = self._context.depth_texture((self._shadow_px, self._shadow_px))
        depth.compare_func, depth.filter = "<=", (moderngl.LINEAR, moderngl.LINEAR)
        depth.repeat_x = depth.repeat_y = False
        return depth, self._context.framebuffer(depth_attachment=depth)

    def _upload(self, kind: int, arrays: list[NDArray[np.float32]], faces: NDArray[np.int32]) -> _Drawable:
        buffers = [self._context.buffer(np.ascontiguousarray(a, "f4").tobytes()) for a in arrays]
        index = self._context.buffer(np.ascontiguousarray(faces, "i4").tobytes())
        content = [(b, f, n) for b, f, n in zip(buffers, _FORMAT, _NAMES, strict=True)]
        used = [part for part in content if part[2] in self._programs[kind]]
        picture = self._context.vertex_array(self._programs[kind], used, index)
        shadow = self._context.vertex_array(self._shadow_program, [content[0], content[4], content[5]], index)
        depth = self._context.vertex_array(self._depth_program, [content[0], content[5]], index)
        return _Drawable([*buffers, index], picture, shadow, depth)

    def set_scene(self, solids: tuple[Solid, Solid]) -> None:
        """Replace the surroundings: what changes from frame to frame, and what stays (see ``scene.gym``)."""
        for old in self._solids:
            old.release()
        self._solids = []
        for kind, solid in zip((shaders.NEAR, shaders.STILL), solids, strict=True):
            cut = np.full(len(solid.vertices_m), -1.0, dtype=np.float32)
            arrays = [solid.vertices_m, solid.normals, solid.colour, solid.vertices_m, solid.material, cut]
            self._solids.append(self._upload(kind, arrays, solid.faces))

    def set_runner(self, clothed: Dressed | None) -> None:
        """Replace the runner; her vertices come with every :meth:`draw`."""
        if self._runner is not None:
            self._runner.release()
        self._runner = None
        if clothed is not None:
            m = clothed.mesh
            rest = m.vertices_m.astype(np.float32)
            self._runner = self._upload(shaders.RUNNER, [rest, rest, m.colour, rest, m.material, m.cut], m.faces)
            self._runner.clothed = clothed

    def draw(
        self,
        camera: Pinhole,
        light: Light,
        look: Look,
        belt_m: float = 0.0,
        runner: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
        window_px: tuple[int, int] = (0, 0),
        shadows: bool = True,
        still: bool = True,
        turn: float = 0.0,
        surroundings: bool = True,
    ) -> NDArray[np.float32]:
        """The window whose upper left corner is ``window_px``: linear RGB and coverage (height, width, 4).

        ``shadows`` False keeps the shadow maps of the last call, for the sub-frames of one exposure. ``still`` False
        leaves out (but keeps hiding behind it) what stays as it is: there the coverage is 0, for a stored background.
        ``turn`` (0..1) turns the pattern of shadow samples: sub-frames with different turns average its grain away.
        ``surroundings`` False draws the runner alone: what she covers.
        """
        things = list(self._solids)
        if runner is not None and self._runner is not None:
            self._runner.buffers[0].write(np.ascontiguousarray(runner[0], "f4").tobytes())
            self._runner.buffers[1].write(np.ascontiguousarray(runner[1], "f4").tobytes())
            things.append(self._runner)
        key = np.asarray(light.key) / np.linalg.norm(light.key)
        matrices = [_light_matrix(key, 1.7), _light_matrix(np.array([0.05, 1.0, 0.12]), 1.3)]
        for (_, target), matrix in zip(self._maps, matrices, strict=True):
            if not shadows:
                break
            target.use()
            target.clear(depth=1.0)
            self._shadow_program["light"].write(_columns(matrix))
            for thing in things:
                thing.shadow.render()
        self._set_uniforms(camera, light, look, belt_m, matrices, key, window_px, turn)
        self._many.use()
        self._many.clear(0.0, 0.0, 0.0, 0.0)
        for unit, texture in enumerate((self._maps[0][0], self._maps[1][0], self._noise, self._field)):
            texture.use(unit)
        if runner is not None and self._runner is not None:
            # Depth first, with the garments' cuts; then only what is seen is shaded, once.
            self._runner.depth.render()
            self._context.depth_func = "=="
            self._runner.picture.render()
            self._context.depth_func = "<"
        if not still:
            self._solids[1].depth.render()
        for solid in (self._solids if still else self._solids[:1]) if surroundings else ():
            solid.picture.render()
        self._context.copy_framebuffer(self._one, self._many)
        raw = np.frombuffer(self._one.read(components=4, dtype="f2", alignment=1), "f2")
        return np.nan_to_num(raw.reshape(self.size_px[1], self.size_px[0], 4)[::-1].astype(np.float32), posinf=16.0)

    def _set_uniforms(
        self,
        camera: Pinhole,
        light: Light,
        look: Look,
        belt_m: float,
        matrices: list[Floats],
        key: Floats,
        window_px: tuple[int, int],
        turn: float,
    ) -> None:
        lens = camera.lens_matrix((*window_px, *self.size_px))
        rim = np.asarray(light.rim) / np.linalg.norm(light.rim)
        values: dict[str, Any] = {
            "key_map": 0, "top_map": 1, "noise_map": 2, "field_map": 3,
            "eye": tuple(camera.position_m), "key": tuple(key),
            "key_colour": light.key_colour, "ambient": light.ambient, "rim": tuple(rim), "rim_colour": light.rim_colour,
            "softness": light.softness, "belt": belt_m, "belt_period": look.belt_period_m, "seed": look.seed,
            "style": look.wall, "turn": turn, "cloth": look.cloth,
            "print": [(float(w.print), w.per_m, w.contrast, w.slant) for w in look.weave],
            "print_colour": [w.colour for w in look.weave],
            "weave": [(w.fold_rate, w.fold_depth, w.shine, w.wrap) for w in look.weave],
        }  # fmt: skip
        if self._runner is not None and self._runner.clothed is not None:
            worn = self._runner.clothed
            o = worn.outfit
            values |= {
                "band_colour": o.band, "stripe_colour": o.stripe, "sock_colour": o.sock, "waist_y": worn.waist_y_m,
                "band": o.band_m, "stripe": o.stripe_m, "sock_y": worn.sock_y_m, "folds": o.folds,
            }  # fmt: skip
        placed = (("view", lens @ camera.view_matrix()), ("key_matrix", matrices[0]), ("top_matrix", matrices[1]))
        for program in self._programs:
            for name, value in values.items():
                if name in program:
                    program[name].value = value
            for name, matrix in placed:
                program[name].write(_columns(matrix))
        self._depth_program["view"].write(_columns(placed[0][1]))


def _noise_field() -> NDArray[np.float32]:
    """Smooth periodic noise (64, 64, 64, 4): its gradient per 1/32 of the period, and the noise itself around 0.47."""
    count = 64
    wave = np.fft.fftfreq(count) * count
    kz, ky, kx = np.meshgrid(wave, wave, wave, indexing="ij")
    k = np.sqrt(kx**2 + ky**2 + kz**2)
    loud = np.where(k > 5, np.maximum(k, 1.0) ** -2.3, 0.0) * np.exp(-((k / 24) ** 4))
    spectrum = np.fft.fftn(np.random.default_rng(2).standard_normal((count,) * 3)) * loud
    value = np.fft.ifftn(spectrum).real
    scale = 0.11 / float(value.std())
    slopes = [np.fft.ifftn(spectrum * 2j * np.pi * axis / 32.0).real * scale for axis in (kx, ky, kz)]
    return np.stack([*slopes, 0.47 + scale * value], axis=-1).astype(np.float32)


def _columns(matrix: Floats) -> bytes:
    return np.ascontiguousarray(matrix.T, dtype="f4").tobytes()


def _light_matrix(toward: Floats, half_m: float) -> Floats:
    """Orthographic view from the light onto the space around the runner."""
    toward = toward / np.linalg.norm(toward)
    middle = np.array([0.0, 0.85, 0.0])
    right = np.cross([0.0, 0.01, -1.0], toward)
    right /= np.linalg.norm(right)
    up = np.cross(toward, right)
    view = np.eye(4)
    view[:3, :3] = np.stack([right, up, toward])
    view[:3, 3] = -view[:3, :3] @ (middle + 4.0 * toward)
    box = np.eye(4)
    box[0, 0] = box[1, 1] = 1.0 / half_m
    box[2, 2], box[2, 3] = -2.0 / 7.5, -(8.0 + 0.5) / 7.5
    return np.asarray(box @ view)
