"""The phase-locked harmonic model: periodic curves over gait phase, pooled over the last strides, with covariance.

Every channel y (an angle, a height, …) is modelled as ``c0 + Σ a_k cos 2πkθ + b_k sin 2πkθ`` over the phase θ of the
gait cycle. A stride is added as its normal equations, so that pooling the last strides is a sum and forgetting one is
a subtraction: constant work and memory whatever the length of the run. A weak prior, falling with the harmonic as
smooth curves do, lets few frames speak in low harmonics and many in high ones; it biases nothing that the frames
determine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from station.types import Floats

TWO_PI = 2.0 * np.pi


def basis(phase: Floats, harmonics: int) -> Floats:
    """Regressors (n, 1 + 2·harmonics) of phases (n,) in cycles: 1, cos 2πθ, sin 2πθ, cos 4πθ and so on."""
    angle = TWO_PI * phase[:, None] * np.arange(1, harmonics + 1)
    out = np.empty((len(phase), 1 + 2 * harmonics))
    out[:, 0] = 1.0
    out[:, 1::2] = np.cos(angle)
    out[:, 2::2] = np.sin(angle)
    return out


def slope_basis(phase: Floats, harmonics: int) -> Floats:
    """d/dθ of :func:`basis`, per cycle."""
    order = np.arange(1, harmonics + 1)
    angle = TWO_PI * phase[:, None] * order
    out = np.zeros((len(phase), 1 + 2 * harmonics))
    out[:, 1::2] = -TWO_PI * order * np.sin(angle)
    out[:, 2::2] = TWO_PI * order * np.cos(angle)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Solution for all channels: ``coef`` (c, n), ``cov`` (c, n, n), residual ``sigma`` (c,), strides and frames used.

    A channel without data has NaN coefficients.
    """

    coef: Floats
    cov: Floats
    sigma: Floats
    frames: Floats
    strides: int

    def known(self, channel: int) -> bool:
        """Whether this channel had enough data for a curve."""
        return bool(np.isfinite(self.coef[channel, 0]))


class HarmonicPool:
    """The last ``window`` strides of ``len(amplitude)`` channels.

    ``amplitude`` (units of the channel) is the size that its curve may well have: the prior sd of harmonic k is
    ``amplitude / k**decay``.
    """

    def __init__(self, amplitude: Floats, harmonics: int, window: int, decay: float = 1.5) -> None:
        self.harmonics = harmonics
        self.window = window
        order = np.repeat(np.arange(1, harmonics + 1), 2)
        size = 1 + 2 * harmonics
        self._channels = len(amplitude)
        self._prior = np.zeros((self._channels, size))  # precision of each coefficient
        self._prior[:, 1:] = (order**decay / amplitude[:, None]) ** 2
        self._prior[:, 0] = 1e-6 / amplitude**2
        self._gram = np.zeros((window, self._channels, size, size))
        self._rhs = np.zeros((window, self._channels, size))
        self._square = np.zeros((window, self._channels))
        self._count = np.zeros((window, self._channels))
        self._guess = amplitude / 20.0  # of sigma, until residuals speak
        self.reset()

    def reset(self) -> None:
        """Forget every stride."""
        self._next = 0
        self.strides = 0
        self._sigma = self._guess
        for store in (self._gram, self._rhs, self._square, self._count):
            store[:] = 0.0
        self._total = np.zeros_like(self._gram[0])

    def forget_all_but(self, newest: int) -> None:
        """Keep the ``newest`` strides only: the runner changed speed."""
        for age in range(newest, self.strides):
            slot = (self._next - 1 - age) % self.window
            for store in (self._gram, self._rhs, self._square, self._count):
                store[slot] = 0.0
        self._total = self._gram.sum(axis=0)
        self.strides = min(self.strides, newest)

    def add(self, regressors: Floats, values: Floats, weights: Floats) -> None:
        """One stride: ``regressors`` (f, n), ``values`` (f, c), NaN where missing, ``weights`` (f, c), 0 = ignored."""
        w = np.where(np.isfinite(values), weights, 0.0)
        y = np.where(np.isfinite(values), values, 0.0)
        wy = w * y
        slot = self._next
        self._total -= self._gram[slot]
        weighted = w.T[:, :, None] * regressors
        np.matmul(weighted.transpose(0, 2, 1), regressors, out=self._gram[slot])
        self._total += self._gram[slot]
        self._rhs[slot] = wy.T @ regressors
        self._square[slot] = (wy * y).sum(axis=0)
        self._count[slot] = w.sum(axis=0)
        self._next = (slot + 1) % self.window
        self.strides = min(self.strides + 1, self.window)

    def solve(self) -> Fit:
        """The pooled curves of all channels."""
        gram = self._total.copy()
        rhs = self._rhs.sum(axis=0)
        square = self._square.sum(axis=0)
        count = self._count.sum(axis=0)
        size = gram.shape[-1]
        diagonal = np.arange(size)
        gram[:, diagonal, diagonal] += self._prior * (self._sigma**2)[:, None]
        inverse = np.linalg.inv(gram)
        coef = np.matmul(inverse, rhs[:, :, None])[:, :, 0]
        misfit = np.maximum(square - (coef * rhs).sum(axis=1), 0.0)
        free = count - min(size, 1.0 * size)
        enough = count > 0.75 * size
        sigma = np.where(enough, np.sqrt(misfit / np.maximum(free, 0.25 * count + 1.0)), np.nan)
        self._sigma = np.where(enough, np.maximum(sigma, 1e-9), self._sigma)
        return Fit(
            coef=np.where(enough[:, None], coef, np.nan),
            cov=inverse * (self._sigma**2)[:, None, None],
            sigma=sigma,
            frames=count,
            strides=self.strides,
        )


def rotate(coef: Floats, shift: float) -> Floats:
    """Coefficients (…, n) of the same curves over the phase θ' = θ − ``shift``."""
    order = np.arange(1, (coef.shape[-1] - 1) // 2 + 1)
    cos, sin = np.cos(TWO_PI * order * shift), np.sin(TWO_PI * order * shift)
    out = coef.copy()
    a, b = coef[..., 1::2], coef[..., 2::2]
    out[..., 1::2] = a * cos + b * sin
    out[..., 2::2] = b * cos - a * sin
    return out


def variance(cov: Floats, gradient: Floats) -> float:
    """Variance of ``gradient · coef``."""
    return float(gradient @ cov @ gradient)


def huber_weights(residual: Floats, sigma: Floats, cut: float = 2.5) -> NDArray[np.float64]:
    """Weights 1 inside ``cut`` sigmas, falling as 1/|r| beyond; 0 where the residual is NaN."""
    scaled = np.abs(residual) / (cut * np.maximum(sigma, 1e-9))
    with np.errstate(invalid="ignore"):
        weights = np.where(scaled > 1.0, 1.0 / np.maximum(scaled, 1.0), 1.0)
    return np.where(np.isfinite(scaled), weights, 0.0)
