// The pelvis as a bucket of water, seen from behind. Each frame moves it by SVG transforms only: it tips with obliquity (the
// angle drawn is the angle published), turns with rotation, and its mouth opens or closes with tilt. The water stays level
// by itself: at the border of the target band it reaches the rim.
const RIM = 230;
const FOOT = 152;
const FOOT_Y = 340;
const RIM_RY = 100;
const EYE_DEG = 20; // we look down into the mouth by this much when tilt is 0
const NEUTRAL_DEG = 14; // and by this much when tilt is not known
const STAVES = [-75, -50, -25, 0, 25, 50, 75];
const RAD = Math.PI / 180;
const SVG = "http://www.w3.org/2000/svg";

const tip = document.getElementById("tip");
const waters = [document.getElementById("water"), document.getElementById("mirror")];
const mouths = ["mouth", "rim", "opening-shape"].map((id) => document.getElementById(id));
const spills = { left: document.getElementById("spill-left"), right: document.getElementById("spill-right") };
const staves = STAVES.map((angle) => {
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", "M0 0V1");
  if (angle === 0) path.setAttribute("class", "spine");
  document.getElementById("staves").append(path);
  return path;
});

let bandDeg = 6;
const spilling = { left: "", right: "" };
const shown = {};

// `bands` are the drops at which water reaches the rim.
export function setBand(deg) {
  bandDeg = deg;
}

// Water leaves over the lower rim: the right one while the left leg stands, and the other way round.
export function setSpill(zones) {
  for (const [stance, rim] of [["left", "right"], ["right", "left"]]) {
    const zone = zones[stance];
    spilling[rim] = zone === "amber" || zone === "red" ? zone : "";
    spills[rim].classList.toggle("on", spilling[rim] !== "");
    spills[rim].classList.toggle("much", spilling[rim] === "red");
  }
}

export function drawBucket(pose) {
  const obliquity = pose?.obliquity_deg ?? null;
  const rotation = pose?.rotation_deg ?? null;
  const tilt = pose?.tilt_deg ?? null;
  note("t", pose?.t ?? null, 4);
  note("obliquityDeg", obliquity);
  note("rotationDeg", rotation);
  note("tiltDeg", tilt);
  const deg = obliquity ?? 0;
  // Right side higher is positive; the picture's y points down and its right is the runner's right.
  move(tip, `rotate(${(-deg).toFixed(2)})`);
  const depth = RIM * Math.tan(bandDeg * RAD) + 6;
  for (const water of waters) move(water, `translate(0 ${depth.toFixed(1)}) rotate(${deg.toFixed(2)})`);
  const openDeg = tilt === null ? NEUTRAL_DEG : Math.min(34, Math.max(4, EYE_DEG - tilt));
  const ry = RIM * Math.sin(openDeg * RAD);
  for (const mouth of mouths) move(mouth, `scale(1 ${(ry / RIM_RY).toFixed(3)})`);
  turn(rotation ?? 0, ry);
  spill(deg);
}

function turn(rotation, ry) {
  STAVES.forEach((angle, i) => {
    // Right side forward = away from us: the near wall, which is what we see, moves to the right.
    const at = Math.min(90, Math.max(-90, angle + rotation)) * RAD;
    const [s, c] = [Math.sin(at), Math.cos(at)];
    const [x, y] = [RIM * s, ry * c];
    move(staves[i], `matrix(1 0 ${(FOOT * s - x).toFixed(1)} ${(FOOT_Y + 30 * c - y).toFixed(1)} ${x.toFixed(1)} ${y.toFixed(1)})`);
  });
}

function spill(deg) {
  for (const [side, sign] of [["left", -1], ["right", 1]]) {
    if (!spilling[side]) continue;
    const lower = -deg * sign; // how far this rim is down, degrees
    const now = lower > bandDeg * 0.4;
    if (shown[side] !== now) spills[side].classList.toggle("now", (shown[side] = now));
    const x = sign * RIM * Math.cos(deg * RAD) + sign * 8;
    move(spills[side], `translate(${x.toFixed(1)} ${(RIM * Math.sin(lower * RAD) + 14).toFixed(1)})`);
  }
}

function move(element, transform) {
  if (element.drawn !== transform) element.setAttribute("transform", (element.drawn = transform));
}

// What is drawn can be read back from the DOM.
function note(name, value, digits = 2) {
  const text = value === null ? "" : value.toFixed(digits);
  if (tip.dataset[name] !== text) tip.dataset[name] = text;
}
