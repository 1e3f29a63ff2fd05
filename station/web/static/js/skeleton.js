// The runner as a stick figure from keypoints; no picture exists. Left is left: seen from behind, never mirrored.
const BONES = [
  ["left_shoulder", "right_shoulder", "body"], ["left_shoulder", "left_hip", "body"], ["right_shoulder", "right_hip", "body"],
  ["left_hip", "left_knee", "left"], ["left_knee", "left_ankle", "left"], ["left_ankle", "left_heel", "left"], ["left_heel", "left_toe", "left"],
  ["right_hip", "right_knee", "right"], ["right_knee", "right_ankle", "right"], ["right_ankle", "right_heel", "right"], ["right_heel", "right_toe", "right"],
];
const SEEN = 0.3;
const canvas = document.getElementById("skeleton");
const context = canvas.getContext("2d");
let ratio = 1;
let frame = null; // {x, y, height}: the part of the picture shown, moving slowly so that the runner moves within it
let colours = {};

function fit() {
  ratio = Math.min(2, window.devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
}
new ResizeObserver(fit).observe(canvas);

export function recolour(read) {
  colours = { body: read("--dim"), left: read("--ink"), right: read("--dim"), pelvis: read("--good"), belt: read("--line") };
}

export function drawSkeleton(pose) {
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const kp = pose?.kp;
  const points = Object.values(kp ?? {}).filter((point) => point[2] >= SEEN);
  follow(points);
  if (!frame) return;
  const scale = height / frame.height;
  const place = (point) => [width / 2 + (point[0] - frame.x) * scale, (point[1] - frame.y) * scale];
  const line = height / 42;
  belt(width, height, line);
  if (points.length < 2) return;
  context.lineCap = context.lineJoin = "round";
  for (const [from, to, part] of BONES) stroke(kp[from], kp[to], colours[part], part === "body" ? line * 0.7 : line, place);
  stroke(kp.left_hip, kp.right_hip, colours.pelvis, line * 1.7, place);
  head(kp, place, line);
}

function stroke(a, b, colour, width, place) {
  if (!a || !b || a[2] < SEEN || b[2] < SEEN) return;
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(...place(a));
  context.lineTo(...place(b));
  context.stroke();
}

function head(kp, place, line) {
  const [l, r] = [kp.left_shoulder, kp.right_shoulder];
  if (!l || !r || l[2] < SEEN || r[2] < SEEN) return;
  const [[lx, ly], [rx, ry]] = [place(l), place(r)];
  const radius = Math.max(line * 2, Math.hypot(rx - lx, ry - ly) * 0.3);
  context.strokeStyle = colours.body;
  context.lineWidth = line * 0.7;
  context.beginPath();
  context.arc((lx + rx) / 2, (ly + ry) / 2 - radius * 1.7, radius, 0, 7);
  context.stroke();
}

function belt(width, height, line) {
  context.strokeStyle = colours.belt;
  context.lineWidth = line * 0.5;
  context.beginPath();
  context.moveTo(width * 0.08, height - line * 0.5);
  context.lineTo(width * 0.92, height - line * 0.5);
  context.stroke();
}

function follow(points) {
  if (points.length < 4) return;
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  const tall = (bottom - top) * 1.42;
  const wanted = { x: (Math.min(...xs) + Math.max(...xs)) / 2, y: bottom + (bottom - top) * 0.04 - tall, height: tall };
  const w = frame ? 0.02 : 1;
  frame ??= wanted;
  frame = { x: mix(frame.x, wanted.x, w), height: mix(frame.height, wanted.height, wanted.height > frame.height ? 0.2 : w / 4), y: 0, bottom: mix(frame.bottom ?? wanted.y + tall, wanted.y + tall, wanted.y + tall > (frame.bottom ?? 0) ? 0.2 : w / 4) };
  frame.y = frame.bottom - frame.height;
}

function mix(a, b, w) {
  return a + (b - a) * w;
}
