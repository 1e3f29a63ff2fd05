"""Labels of the pelvis crops, and the independence of pelvis and legs that the data set promises."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("moderngl", reason="the renderer is in the extra `lab`")

from station.lab import dataset
from station.lab.bodies import BONE, BONES, Build, _belted
from station.lab.gaitplan import Plan, Style
from station.lab.garments import Outfit
from station.lab.pinhole import Pinhole
from station.lab.skinning import Loose, Rig
from station.lab.variety import random_outfit
from tests.lab.stick import stick_body


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(stick_body(), Plan(Style(strides=7, period_s=5.0)))


def test_a_loose_pelvis_takes_its_angles_and_leaves_the_legs_alone(rig: Rig) -> None:
    run, loose = rig.skeleton(0.3), rig.skeleton(0.3, Loose((9.0, -4.0, 12.0)))
    line = loose.hips_m["R"] - loose.hips_m["L"]
    assert np.degrees(np.arctan2(line[1], line[0])) == pytest.approx(9.0)
    assert np.degrees(np.arctan2(-line[2], line[0])) == pytest.approx(-4.0)
    for side in "LR":
        assert loose.legs[side].thigh == pytest.approx(run.legs[side].thigh)
        assert loose.legs[side].hip == pytest.approx(loose.hips_m[side])


def test_following_legs_turn_with_the_pelvis(rig: Rig) -> None:
    before = rig.plan.angles_deg(0.3)[0]
    run, loose = rig.skeleton(0.3), rig.skeleton(0.3, Loose((before + 10.0, 0.0, 0.0), follow=0.5))
    for side in "LR":
        turn = loose.legs[side].thigh @ run.legs[side].thigh.T
        assert np.degrees(np.arctan2(turn[1, 0], turn[0, 0])) == pytest.approx(5.0)
        thigh = loose.legs[side].knee - loose.legs[side].hip
        assert np.linalg.norm(thigh) == pytest.approx(rig.legs.lengths_m(side)[0])


def test_drawn_pelvises_owe_nothing_to_the_legs(rig: Rig) -> None:
    rng = np.random.default_rng(3)
    drawn, legs = [], []
    for _ in range(1500):
        t = float(rng.uniform(0, 5))
        loose = dataset.random_pelvis(rng, rig.plan.angles_deg(t))
        if loose.angles_deg != rig.plan.angles_deg(t):
            drawn.append(loose.angles_deg[0])
            pose = rig.legs.pose("L", t)
            legs.append([pose.thigh[2, 1], pose.ankle[1], rig.plan.angles_deg(t)[0]])
    for column in np.array(legs).T:
        assert abs(np.corrcoef(column, drawn)[0, 1]) < 0.09
    assert 4.0 < np.std(drawn) < 7.0


def test_labels_are_line_of_sight_angles_and_hip_centres_of_the_crop(rig: Rig) -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        camera = dataset.random_camera(rng)
        loose = dataset.random_pelvis(rng, rig.plan.angles_deg(0.2))
        skeleton = rig.skeleton(0.2, loose)
        window = dataset.crop_window(rng, camera, skeleton)
        label = dict(
            zip(
                dataset.LABELS,
                dataset.label_of(window, skeleton, random_outfit(rng), 0.2, 0.2, rig, loose),
                strict=True,
            )
        )
        for name in ("left_x", "left_y", "right_x", "right_y"):
            assert 10 < label[name] < dataset.SIDE_PX - 10
        assert label["left_x"] < label["right_x"]
        seen = np.degrees(np.arctan2(-(label["right_y"] - label["left_y"]), label["right_x"] - label["left_x"]))
        assert label["obliquity_deg"] == pytest.approx(seen, abs=0.6)  # perspective against parallel projection
        assert label["world_obliquity_deg"] == pytest.approx(loose.angles_deg[0])


def test_the_line_of_sight_frees_the_label_from_where_in_the_picture_the_runner_is(rig: Rig) -> None:
    loose = Loose((0.0, 12.0, 0.0))
    skeleton = rig.skeleton(0.2, loose)
    hips = (skeleton.hips_m["L"] + skeleton.hips_m["R"]) / 2
    said = []
    for pitch in (-14.0, 0.0, 14.0):  # the same place, looking above, at and below the hips
        camera = Pinhole(height_m=float(hips[1]) + 0.6, distance_m=2.4, pitch_deg=pitch)
        said.append(dataset.label_of(camera, skeleton, Outfit(), 0.2, 0.2, rig, loose)[:3])
    # the hips sway 2 cm beside the axis: the shortest way there turns the picture by next to nothing
    assert said[0] == pytest.approx(said[1], abs=0.04)
    assert said[2] == pytest.approx(said[1], abs=0.04)
    # seen from 14 degrees above, a level pelvis turned by 12 degrees looks tipped by atan(tan 14 tan 12)
    above = np.arctan2(0.6, 2.4 - float(hips[2]))
    assert abs(said[1][0]) == pytest.approx(np.degrees(np.arctan(np.sin(above) * np.tan(np.radians(12.0)))), abs=0.04)


def test_the_shirt_covers_the_waistband_by_its_length() -> None:
    shares = [dataset.waist_share(Outfit(hem_m=h, band_m=0.04)) for h in (None, -0.05, 0.0, 0.02, 0.04, 0.2)]
    assert shares == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0, 0.0])


def test_augmentation_turns_and_mirrors_picture_and_label_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="training needs the extra `lab`")
    from station.lab import net
    from station.lab.net import Crops, prepare
    from station.pelvis_net import INPUT_PX, SCALE_DEG

    monkeypatch.setattr(net, "_PRINTED", 0.0)  # a print moves the brightest pixel of a spot
    n = 64
    rng = np.random.default_rng(0)
    images = np.zeros((n, 3, dataset.SIDE_PX, dataset.SIDE_PX), dtype=np.uint8)
    labels = np.zeros((n, len(dataset.LABELS)), dtype=np.float32)
    for i in range(n):
        half, angle = 18.0, float(rng.normal(0, 6))
        dx, dy = half * np.cos(np.radians(angle)), -half * np.sin(np.radians(angle))
        x, y = 64 + rng.uniform(-6, 6), 64 + rng.uniform(-6, 6)
        labels[i, 0], labels[i, 1], labels[i, 3:7] = angle, 5.0, [x - dx, y - dy, x + dx, y + dy]
        for channel, (px, py) in enumerate(((x - dx, y - dy), (x + dx, y + dy))):  # left red, right green
            row, column = np.mgrid[: dataset.SIDE_PX, : dataset.SIDE_PX] + 0.5
            images[i, channel] = 255 * np.exp(-((row - py) ** 2 + (column - px) ** 2) / 18.0)
    crops = Crops(torch.from_numpy(images), torch.from_numpy(labels))
    picture, target = prepare(crops, torch.arange(n), torch.Generator().manual_seed(1))
    hips = (target[:, 3:7].reshape(n, 2, 2).numpy() + 1) / 2 * INPUT_PX
    angles = np.degrees(np.arctan2(-(hips[:, 1, 1] - hips[:, 0, 1]), hips[:, 1, 0] - hips[:, 0, 0]))
    assert angles == pytest.approx(target[:, 0].numpy() * SCALE_DEG[0], abs=0.05)
    mirrored = 0
    for i in range(n):
        light = picture[i].numpy() + 0.0
        first, second = (np.argwhere(light[c] > light[c].max() - 0.05).mean(axis=0) for c in (0, 1))
        if light[0].max() - np.median(light[0]) < 0.3 or np.allclose(light[0], light[1]):
            continue  # turned grey: red and green can no longer be told apart
        flipped = target[i, 1] < 0
        mirrored += int(flipped)
        left, right = (second, first) if flipped else (first, second)
        assert (left[1] + 0.5, left[0] + 0.5) == pytest.approx(tuple(hips[i, 0]), abs=1.6)
        assert (right[1] + 0.5, right[0] + 0.5) == pytest.approx(tuple(hips[i, 1]), abs=1.6)
    assert 10 < mirrored < 45


def test_lifted_thighs_and_a_bent_trunk_leave_the_pelvis_where_it_is(rig: Rig) -> None:
    plain = rig.skeleton(0.3, Loose((4.0, -3.0, 8.0)))
    other = rig.skeleton(0.3, Loose((4.0, -3.0, 8.0), 0.0, (30.0, 10.0, 5.0), ((40.0, 0.0), (0.0, 25.0))))
    assert other.pelvis == pytest.approx(plain.pelvis)
    for side in "LR":
        assert other.hips_m[side] == pytest.approx(plain.hips_m[side])
    left, right = (other.legs[side].knee - plain.legs[side].knee for side in "LR")
    assert left[2] < -0.1  # flexion brings the left knee forward
    assert right[0] > 0.1  # abduction takes the right knee to the right
    chest = BONE["spine01"]
    assert other.joint_m[chest] - plain.joint_m[chest] == pytest.approx([0.0, 0.0, 0.0], abs=0.5)
    assert other.attitude[chest][1, 0] < plain.attitude[chest][1, 0]  # leaning to the right lowers the right side


def test_a_firm_belt_goes_with_the_pelvis_and_nothing_else_changes() -> None:
    rng = np.random.default_rng(2)
    weights = rng.dirichlet(np.ones(len(BONES)), 400)
    above = np.linspace(-0.3, 0.4, 400)
    firm = _belted(weights, above, Build(1.0, (0.03, 0.13)))
    assert firm.sum(axis=1) == pytest.approx(np.ones(400))
    arms = [BONE[f"{part}.{side}"] for part in ("upperarm", "lowerarm", "hand") for side in "LR"]
    belt = (above > 0.06) & (above < 0.10)
    assert firm[belt][:, BONE["pelvis"]] == pytest.approx(1 - weights[belt][:, arms].sum(axis=1))
    away = (above < 0.0) | (above > 0.17)
    assert firm[away] == pytest.approx(weights[away])
    assert _belted(weights, above, Build()) == pytest.approx(weights)
