// The four numerals, the gauges under the drops, and the trend of the last strides. Touched when a stride comes, not per frame.
import { HISTORY } from "./model.js";
import { t, words } from "./strings.js";

const GAUGE = { width: 480, pad: 16 };
const tiles = {
  pelvic_drop_peak_left_deg: document.getElementById("drop-left"),
  pelvic_drop_peak_right_deg: document.getElementById("drop-right"),
  cadence_spm: document.getElementById("cadence"),
  stability: document.getElementById("stability"),
};
const DROPS = ["pelvic_drop_peak_left_deg", "pelvic_drop_peak_right_deg"];
const trend = document.querySelector("#trend canvas");
const fullDeg = (band) => band[1] + 3;

export function layGauges(bands) {
  for (const name of DROPS) {
    const [tile, band] = [tiles[name], bands[name]];
    if (!band) continue;
    const [green, amber] = band;
    const edges = [0, green, amber, fullDeg(band)].map((deg) => along(deg, band));
    tile.querySelectorAll(".g,.a,.r").forEach((rect, i) => {
      rect.setAttribute("x", edges[i] + (i ? 4 : 0));
      rect.setAttribute("width", edges[i + 1] - edges[i] - (i ? 4 : 0));
    });
  }
}

export function drawNumbers(model, bands) {
  for (const [name, tile] of Object.entries(tiles)) {
    const metric = model.metric(name);
    const known = Number.isFinite(metric.value);
    tile.toggleAttribute("data-null", !known);
    tile.dataset.zone = known ? metric.zone : "";
    tile.dataset.value = known ? metric.value : "";
    tile.toggleAttribute("data-unsure", known && unsure(metric, bands[name]));
    tile.querySelector(".value").textContent = known ? figure(metric.value, Boolean(bands[name])) : "–";
    tile.querySelector(".why").textContent = known ? "" : words("reason", metric.reason);
    if (known && bands[name]) gauge(tile, metric, bands[name]);
  }
}

// An interval that reaches from inside the target to beyond its outer border allows no verdict.
function unsure({ value, ci95 }, band) {
  return Boolean(band && ci95) && value - ci95 < band[0] && value + ci95 > band[1];
}

// Two digits fill the tile: tenths are shown below ten degrees only, where they are worth reading.
function figure(value, tenths) {
  return (tenths && value >= 0 && value < 9.95 ? value.toFixed(1) : value.toFixed(0)).replace("-", "−").replace("−0", "0");
}

function along(deg, band) {
  const span = GAUGE.width - 2 * GAUGE.pad;
  return GAUGE.pad + (Math.min(fullDeg(band), Math.max(0, deg)) / fullDeg(band)) * span;
}

function gauge(tile, { value, ci95, stride }, band) {
  tile.querySelector(".now").style.transform = `translateX(${along(value, band)}px)`;
  const low = along(value - (ci95 ?? 0), band);
  tile.querySelector(".ci").style.transform = `translateX(${low}px) scaleX(${Math.max(0, along(value + (ci95 ?? 0), band) - low)})`;
  const last = tile.querySelector(".last");
  last.toggleAttribute("hidden", !Number.isFinite(stride));
  if (Number.isFinite(stride)) {
    tile.dataset.last = stride;
    last.style.transform = `translateX(${along(stride, band)}px)`;
  }
}

export function drawTrend(history, band, read) {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const [width, height] = [Math.round(trend.clientWidth * ratio), Math.round(trend.clientHeight * ratio)];
  if (!width || !height || !band) return;
  if (trend.width !== width) trend.width = width;
  if (trend.height !== height) trend.height = height;
  const context = trend.getContext("2d");
  context.clearRect(0, 0, width, height);
  const top = band[1] + 1.5;
  const y = (deg) => height * (1 - (Math.min(top, Math.max(-1, deg)) + 1) / (top + 1));
  context.globalAlpha = 0.2;
  context.fillStyle = read("--good");
  context.fillRect(0, y(band[0]), width, y(-1) - y(band[0]));
  context.globalAlpha = 1;
  context.strokeStyle = read("--good");
  context.lineWidth = height / 70;
  context.beginPath();
  context.moveTo(0, y(band[0]));
  context.lineTo(width, y(band[0]));
  context.stroke();
  const radius = height / 20;
  const step = (width - 2 * radius) / (HISTORY - 1);
  history.forEach((stride, i) => {
    const x = width - radius - (history.length - 1 - i) * step;
    dot(context, x, stride.left, y, radius, band, read, true);
    dot(context, x, stride.right, y, radius, band, read, false);
  });
}

function dot(context, x, deg, y, radius, band, read, filled) {
  if (!Number.isFinite(deg)) return;
  const colour = read(deg > band[1] ? "--bad" : deg > band[0] ? "--edge" : "--ink");
  context.beginPath();
  context.arc(x, y(deg), filled ? radius : radius * 0.8, 0, 7);
  context.fillStyle = context.strokeStyle = colour;
  context.lineWidth = radius * 0.5;
  if (filled) context.fill();
  else context.stroke();
}

export function clockText(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// What the stability is made of, a line a part, and how long the run is in strides.
export function factsText(model) {
  const parts = model.latest.stride?.metrics?.stability?.parts ?? {};
  const lines = Object.entries(parts).filter(([, value]) => Number.isFinite(value)).map(([name, value]) => `${words("part", name)} ${value.toFixed(0)}`);
  if (model.strides) lines.push(t("facts", { strides: model.strides }));
  return lines.join("\n");
}
