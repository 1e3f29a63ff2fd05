// The technician's view: is the runner framed well, is the station well. Drawn from keypoints; there is no picture.
import { openLink } from "./link.js";
import { loadStrings, t, words } from "./strings.js";

const canvas = document.getElementById("frame");
const context = canvas.getContext("2d");
const seen = {};
const lines = [];
const CAMERA = ["light", "luma", "flicker", "exposure_ms", "gain", "lux", "locked", "blur", "framing", "dirty", "calibrated"];
const LOGGED = new Set(["link", "status", "state", "stride", "cue"]);

function colour(name) {
  const probe = document.createElement("i");
  document.body.append(probe);
  probe.style.color = `var(${name})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

// Each check is true, false or null (not known yet).
function picture(camera = {}) {
  const judged = (value, good) => (value === null || value === undefined ? null : good(value));
  const hints = camera.hints ?? [];
  const metered = Number.isFinite(camera.exposure_ms) || Number.isFinite(camera.flicker) ? true : null;
  return {
    light: judged(camera.light, (light) => light > 0.3),
    exposure: metered && !hints.includes("bright") && !hints.includes("flicker") && camera.locked !== false,
    sharp: judged(camera.blur, (blur) => blur < 0.5),
    clean: judged(camera.dirty, (dirty) => !dirty),
    calibrated: judged(camera.calibrated, Boolean),
  };
}

function framing(live) {
  const kp = Object.values(live?.kp ?? {}).filter((point) => point[2] >= 0.3);
  const [width, height] = live?.size ?? [1280, 720];
  if (kp.length < 6) return { person: false, distance: null, height: null, centre: null, feet: null };
  const xs = kp.map((point) => point[0] / width);
  const ys = kp.map((point) => point[1] / height);
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  const middle = (Math.min(...xs) + Math.max(...xs)) / 2;
  const hips = ["left_hip", "right_hip"].map((name) => live.kp[name]?.[1] / height);
  const hip = (hips[0] + hips[1]) / 2;
  return {
    person: true,
    distance: bottom - top > 0.45 && bottom - top < 0.85,
    height: Number.isFinite(hip) ? hip > 0.3 && hip < 0.6 : null,
    centre: Math.abs(middle - 0.5) < 0.12,
    feet: bottom < 0.98 && Boolean(live.kp.left_heel && live.kp.right_heel),
  };
}

function draw(live) {
  const [width, height] = live?.size ?? [1280, 720];
  canvas.height = Math.round((canvas.width * height) / width);
  const scale = canvas.width / width;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = colour("--line");
  context.lineWidth = 2;
  context.strokeRect(canvas.width * 0.38, canvas.height * 0.08, canvas.width * 0.24, canvas.height * 0.88);
  context.fillStyle = colour("--good");
  for (const [x, y, score] of Object.values(live?.kp ?? {})) {
    context.globalAlpha = Math.max(0.25, score);
    context.beginPath();
    context.arc(x * scale, y * scale, 6, 0, 7);
    context.fill();
  }
  context.globalAlpha = 1;
}

function list(id, pairs) {
  const parts = pairs.flatMap(([name, value]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  });
  document.getElementById(id).replaceChildren(...parts);
}

function flat(object, prefix = "") {
  return Object.entries(object ?? {}).flatMap(([name, value]) =>
    value && typeof value === "object" && !Array.isArray(value) ? flat(value, `${prefix}${name} `) : [[`${prefix}${name}`.replaceAll("_", " "), value ?? "–"]]);
}

function write() {
  draw(seen.live);
  const camera = seen.health?.camera ?? {};
  const checks = Object.entries({ ...framing(seen.live), ...picture(camera) }).map(([name, ok]) => {
    const item = document.createElement("li");
    item.dataset.ok = ok === null ? "unknown" : ok ? "yes" : "no";
    item.dataset.check = name;
    item.append(document.createElement("i"), t(`setup.check.${name}.${ok === null ? "unknown" : ok ? "yes" : "no"}`));
    return item;
  });
  document.getElementById("framing").replaceChildren(...checks);
  const broker = seen.link?.broker ? t("setup.reached") : t("setup.not_reached");
  list("state", [[t("setup.broker"), broker], ["state", words("chip", seen.state?.state ?? "offline")], ...flat(seen.status)]);
  document.getElementById("hints").replaceChildren(...(camera.hints ?? []).map((hint) => {
    const item = document.createElement("li");
    item.textContent = t(`setup.hint.${hint}`);
    return item;
  }));
  const scores = Object.entries(seen.live?.kp ?? {}).map(([name, point]) => [words("keypoint", name), point[2].toFixed(2)]);
  list("confidence", scores);
  list("camera", CAMERA.filter((name) => name in camera).map((name) => [t(`setup.camera.${name}`), shown(camera[name])]));
  const { camera: _, ...health } = seen.health ?? {};
  list("health", flat(health));
  log("log", lines.map((text) => ({ text })));
  const tail = (seen.log?.lines ?? []).map(({ wall, level, text }) => ({ level, text: `${new Date(wall).toLocaleTimeString()} ${text}` }));
  log("engine-log", tail.reverse());
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return t(value ? "setup.yes" : "setup.no");
  return Number.isFinite(value) ? String(Math.round(value * 100) / 100) : String(value);
}

function log(id, entries) {
  const shown = entries.map(({ level, text }) => {
    const item = document.createElement("li");
    item.textContent = text;
    if (level) item.dataset.level = level;
    return item;
  });
  document.getElementById(id).replaceChildren(...shown);
}

function news(name, data) {
  seen[name] = data;
  if (!LOGGED.has(name) || !data) return;
  const what = name === "stride" ? `${data.seq} ${data.status} ${(data.reasons ?? []).join(", ")}` : JSON.stringify(data);
  lines.unshift(`${new Date().toLocaleTimeString()} ${name} ${what}`.slice(0, 160));
  lines.length = Math.min(lines.length, 60);
}

await loadStrings(document.documentElement.lang);
setInterval(write, 250);
openLink({
  heartbeatS: 4,
  onOnline: (online) => online || news("link", { broker: false }),
  onSnapshot: (items) => Object.entries(items).forEach(([name, item]) => news(name, item.data)),
  onNews: news,
});
