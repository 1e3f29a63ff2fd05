"""Training: it learns a bar's slope, goes on where it stopped, and says what is wrong with its folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moderngl", reason="the renderer is in the extra `lab`")
pytest.importorskip("torch", reason="training needs the extra `lab`")

import torch

from station.inference import Model
from station.lab import export, train
from station.lab.dataset import LABELS, SIDE_PX
from station.lab.net import PelvisNet, loss_of, prepare
from station.models.graph import pack
from station.pelvis_net import INPUT_PX, OUTPUTS


def _bars(path: Path, count: int, seed: int) -> None:
    """Crops of a bright bar on grey whose slope is the obliquity: the least that must be learnable."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    labels = np.zeros((count, len(LABELS)), dtype=np.float32)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] - 63.5
    for i in range(count):
        angle = float(rng.normal(0, 8))
        across = y * np.cos(np.radians(angle)) + x * np.sin(np.radians(angle))
        images[i] = np.where(np.abs(across) < 8, 220, 60)[..., None] + rng.integers(0, 20, (SIDE_PX, SIDE_PX, 1))
        dx, dy = 18 * np.cos(np.radians(angle)), -18 * np.sin(np.radians(angle))
        labels[i, :7] = [angle, rng.normal(0, 5), rng.normal(9, 4), 64 - dx, 64 - dy, 64 + dx, 64 + dy]
        labels[i, LABELS.index("waist")] = rng.uniform()
    np.savez_compressed(path, images=images, labels=labels)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    _bars(folder / "train_1_0000.npz", 192, 1)
    _bars(folder / "held_1_0000.npz", 48, 2)
    _bars(folder / "check_1_0000.npz", 48, 3)
    return folder


@pytest.mark.slow
def test_a_few_epochs_learn_the_slope_of_a_bar(data: Path, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    assert train.main([str(data), str(tmp_path), "--samples", "1536", "--minutes", "10"]) == 0
    run = train.Run(tmp_path / "last.pt", 1536)
    held = train.load(data, "held")
    angles, sd = train.predict(run.mean, held)
    true = held.labels.numpy()[:, 0]
    assert np.corrcoef(angles[:, 0], true)[0, 1] > 0.8
    assert (sd > 0).all()


def test_training_goes_on_where_it_stopped(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([str(data), str(tmp_path), "--samples", "384", "--minutes", "0"]) == 0
    first = train.Run(tmp_path / "last.pt", 384)
    first.one_epoch(train.load(data, "train"))
    assert train.main([str(data), str(tmp_path), "--samples", "384", "--minutes", "10"]) == 0
    assert "192 samples of 384 seen" in capsys.readouterr().out
    assert train.Run(tmp_path / "last.pt", 384).seen == 384


def test_missing_shards_are_named_with_the_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([str(tmp_path), str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert "station.lab.dataset" in error


def test_the_loss_rewards_honest_variances() -> None:
    target = torch.zeros(500, 8)
    out = torch.zeros(500, len(OUTPUTS))
    out[:, 0] = torch.linspace(-2, 2, 500)
    losses = []
    for log_variance in (-3.0, 0.3, 3.0):
        out[:, 3] = log_variance
        error = out[:, :3] - target[:, :3]
        losses.append(float((0.5 * (error**2 * torch.exp(-out[:, 3:6]) + out[:, 3:6])).mean()))
    assert losses[1] == min(losses)
    out.requires_grad_(True)
    (grown,) = torch.autograd.grad(loss_of(out, target), out)
    assert float(grown[:, 3].abs().sum()) > 0


def test_the_exported_model_says_what_the_net_says(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = PelvisNet()
    train_crops = train.load(data, "train")
    with torch.no_grad():
        for _ in range(20):  # normalisation gets statistics worth folding
            net(prepare(train_crops, torch.arange(64))[0])
    net.eval()
    path = tmp_path / "net.tflite"
    path.write_bytes(pack(export.graph_of(net)))
    model = Model(path)
    picture = prepare(train_crops, torch.arange(1))[0]
    with torch.no_grad():
        wanted = net(picture)[0].numpy()
    model.run(picture.permute(0, 2, 3, 1).contiguous().numpy())
    assert model.inputs[0].shape == (1, INPUT_PX, INPUT_PX, 3)
    assert model.output(len(OUTPUTS)).ravel() == pytest.approx(wanted, abs=1e-4)


def test_export_widens_variances_until_they_fit_and_writes_int8(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([str(data), str(tmp_path), "--samples", "192", "--minutes", "1"]) == 0
    target = tmp_path / "small.tflite"
    assert export.main([str(tmp_path), str(data), str(target)]) == 0
    assert "small.tflite" in capsys.readouterr().out
    assert target.stat().st_size < 0.5 * target.with_suffix(".float.tflite").stat().st_size
    net, check = train.Run(tmp_path / "last.pt", 1).mean.eval(), train.load(data, "check")
    export.widen(net, check)
    angles, sd = train.predict(net, check)
    inside = (np.abs(angles - check.labels.numpy()[:, :3]) <= sd).mean(axis=0)
    assert inside == pytest.approx([0.68] * 3, abs=0.03)


def test_export_without_a_trained_net_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([str(tmp_path), str(tmp_path), str(tmp_path / "x.tflite")]) == 2
    assert "station.lab.train" in capsys.readouterr().err
