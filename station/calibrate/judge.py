"""Is the fit good enough to be believed, and if not, what has to change."""

from __future__ import annotations

from collections.abc import Sequence

from station.calibrate.fit import Fit, fit
from station.calibrate.register import Sighting

#: What the views must tell at least, as standard deviations: half of what is promised, and a little.
FOCAL_PCT, HEIGHT_M, DISTANCE_PCT, ROLL_DEG = 0.6, 0.006, 0.6, 0.1
#: `--coarse` is content with so many times that.
COARSE = 6.0
#: Share of a sheet's contrast that its pattern must explain.
_EXPLAINED = 0.9
#: Blur (sd) against the height of a field.
_BLUR_PER_FIELD = 0.45
#: Height of a field in the picture that is still told apart [px].
_FIELD_PX = 1.5
#: Chi-square with five degrees of freedom that a flat sheet on the belt exceeds once in 100,000.
_MISFIT = 32.0


def unusable(sighting: Sighting, name: str) -> str | None:
    """What is wrong with one sheet in one picture, and the mend; ``None`` = nothing."""
    who = f"{name}: sheet {sighting.sheet}"
    if sighting.field_px < _FIELD_PX:
        return (
            f"{who} is seen too flat or too far away (a field of its markers is {sighting.field_px:.1f} px high): "
            "lay it nearer to the camera, raise the camera, or use a larger picture"
        )
    if sighting.blur_px > _BLUR_PER_FIELD * sighting.field_px:
        return (
            f"{who} is blurred (by {sighting.blur_px:.1f} px): focus at the runner's distance, and hold nothing by hand"
        )
    if sighting.explained < _EXPLAINED:
        return (
            f"{who} is covered, in shadow or not flat ({100 * sighting.explained:.0f} % of it looks as printed): "
            "clear it, light it evenly, tape its corners down"
        )
    return None


def misfit(best: Fit, sightings: Sequence[Sighting], names: Sequence[str], size_px: tuple[int, int]) -> str | None:
    """The sheet that does not lie in the plane of the others, or was printed in another size; ``None`` = all agree."""
    if max(best.misfit) < _MISFIT:
        return None
    if len(sightings) < 3:
        return (
            f"the sheet does not look like a flat one (off by {max(best.rest_px):.2f} px): tape its corners down, "
            "measure its ruler, join halves without a gap"
        )
    near = best.lens.focal_px
    costs = [fit([*sightings[:i], *sightings[i + 1 :]], size_px, begin_px=near).cost for i in range(len(sightings))]
    worst = min(range(len(costs)), key=costs.__getitem__)
    if costs[worst] > 0.5 * best.cost:
        return (
            f"the sheets do not agree with one flat belt (off by up to {max(best.rest_px):.2f} px): the camera moved, "
            "the printer scaled, or halves are joined with a gap; measure the rulers and begin again"
        )
    return (
        f"{names[worst]}: sheet {sightings[worst].sheet} does not lie flat on the belt like the others "
        f"(off by {best.rest_px[worst]:.2f} px): tape its corners down, or leave it out"
    )


def doubts(best: Fit, places: int, *, coarse: bool = False) -> str | None:
    """What these views cannot tell well enough, and what to do; ``None`` = they tell everything."""
    slack = COARSE if coarse else 1.0
    sd = best.sd_views
    distance_m = best.spots[0].depth_m
    poor = []
    if 100 * sd["focal_px"] > FOCAL_PCT * slack * best.lens.focal_px:
        poor.append(f"focal length (± {200 * sd['focal_px'] / best.lens.focal_px:.1f} %)")
    if 100 * sd["distance_m"] > DISTANCE_PCT * slack * distance_m:
        poor.append(f"distance (± {200 * sd['distance_m'] / distance_m:.1f} %)")
    if sd["height_m"] > HEIGHT_M * slack:
        poor.append(f"height (± {2000 * sd['height_m']:.0f} mm)")
    if sd["roll_deg"] > ROLL_DEG * slack:
        poor.append(f"roll (± {2 * sd['roll_deg']:.2f} degrees)")
    if not poor:
        return None
    seen = "one place" if places == 1 else f"{places} places"
    return (
        f"{seen} cannot tell {', '.join(poor)}: lay the sheet in {max(2, 5 - places)} more places, nearer, farther, "
        "left, right, turned, as far apart as belt and picture allow"
    )


def implausible(best: Fit) -> str | None:
    """A camera that nobody hangs behind a treadmill: then the sheet was not on the belt."""
    place, distance_m = best.place, best.spots[0].depth_m
    if 0.2 < place.height_m < 3.0 and 0.5 < distance_m < 10.0 and abs(place.roll_deg) < 20.0:
        return None
    return (
        f"the camera would stand {place.height_m:.2f} m above the sheet, {distance_m:.2f} m from it, rolled by "
        f"{place.roll_deg:.0f} degrees: the sheet must lie flat on the belt, its heading away from the camera"
    )
