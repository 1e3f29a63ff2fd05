// The page: news come in, the model keeps them, the DOM is written when something changed, the bucket moves every frame.
import { drawBucket, setBand, setSpill } from "./bucket.js";
import { openLink } from "./link.js";
import { Model } from "./model.js";
import { Motion } from "./motion.js";
import { clockText, drawNumbers, drawTrend, factsText, layGauges } from "./numbers.js";
import { drawSkeleton, recolour } from "./skeleton.js";
import { metronome, soundOn, switchSound, tone } from "./sound.js";
import { find, loadStrings, t, words } from "./strings.js";

const LEFT = "pelvic_drop_peak_left_deg";
const RIGHT = "pelvic_drop_peak_right_deg";
const CALM_MS = 1000; // with reduced motion the bucket steps this often instead of swinging
const MOODS = { running: "good", warming_up: "good", idle: "good", summary: "good", baseline: "good", low_confidence: "bad", camera_lost: "bad", server_lost: "bad", broker_lost: "bad" };
const $ = (id) => document.getElementById(id);
const body = document.body;
const model = new Model();
const motion = new Motion();
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let boot = { trusted: false, heartbeat_s: 4 };
let bands = {};
let dirty = true;
let calmAtMs = 0;

const probe = document.createElement("i");
probe.hidden = true;
body.append(probe);
const cache = new Map();
function read(name) {
  if (!cache.has(name)) {
    probe.style.color = `var(${name})`;
    cache.set(name, getComputedStyle(probe).color);
  }
  return cache.get(name);
}

function retheme() {
  cache.clear();
  recolour(read);
  dirty = true;
}

// --- written when something changed -----------------------------------------------------------------------------------

function write(nowMs) {
  if (model.latest.state?.bands && model.latest.state.bands !== bands) {
    bands = model.latest.state.bands;
    layGauges(bands);
    if (bands[LEFT]) setBand(bands[LEFT][0]);
  }
  model.nowMs = nowMs;
  const screen = model.screen();
  const stale = model.stale(nowMs);
  const message = model.message(nowMs);
  set(body, "screen", screen);
  flag(body, "run", model.running());
  flag(body, "stale", stale);
  flag(body, "cue", Boolean(message));
  const chip = stale ? "stale" : screen;
  set($("chip"), "mood", stale ? "bad" : MOODS[screen] ?? "wait");
  say($("chip").lastElementChild, words("chip", chip));
  const prompt = screen === "low_confidence" ? model.latest.state?.prompt : null;
  say($("message").querySelector(".head"), prompt ? words("prompt", prompt) : find("head", screen === "idle" && model.latest.state?.start === "tap" ? "idle_tap" : screen) ?? "");
  say($("message").querySelector(".text"), screen === "summary" ? ran(model.latest.summary) : find("text", prompt ?? screen) ?? "");
  $("begin").hidden = !(screen === "idle" && boot.trusted);
  showCode($("scan"), screen === "idle" && model.latest.start ? `/go/${model.latest.start.key}` : null, t("scan_start_alt"));
  $("pain").hidden = false;
  drawNumbers(model, bands);
  drawTrend(model.history, bands[LEFT], read);
  setSpill(screen === "running" && !stale ? { left: model.metric(LEFT).zone, right: model.metric(RIGHT).zone } : {});
  say($("facts"), factsText(model));
  writeMessage(message);
  writeReport(screen);
}

function ran(summary) {
  return summary ? t("summary_facts", { time: clockText(summary.duration_s ?? 0), strides: summary.strides ?? "–" }) : "";
}

function writeMessage(message) {
  const cue = $("cue");
  cue.hidden = !message;
  if (!message) {
    metronome(0);
    return;
  }
  const raised = message.action === "raise";
  const text = cueText(message);
  set(cue, "action", message.action);
  set(cue, "side", message.cue?.side ?? "");
  if (cue.lastElementChild.textContent !== text) tone(message.action === "praise" ? 1046 : 660, 0.25);
  say(cue.lastElementChild, text);
  metronome(raised ? model.beatSpm : 0);
}

function cueText({ action, cue, prompt }) {
  if (action === "praise") return t("praise");
  if (prompt) return words("prompt", prompt);
  return cue.cue === "metronome" && model.beatSpm ? t("beat", { spm: model.beatSpm }) : words("cue", cue.cue);
}

function writeReport(screen) {
  const report = model.latest.report;
  showCode($("report"), screen === "summary" && report ? `/s/${report.token}` : null, t("open_report"));
}

function showCode(box, path, alt) {
  box.hidden = !path;
  if (!path) return;
  const [link, image] = [box.querySelector("a"), box.querySelector("img")];
  if (link) link.href = path;
  image.alt = alt;
  const source = `${path}/qr.svg`;
  if (image.getAttribute("src") !== source) image.src = source;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function set(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}
function flag(element, name, on) {
  if ((name in element.dataset) !== on) on ? (element.dataset[name] = "") : delete element.dataset[name];
}

// --- every frame ------------------------------------------------------------------------------------------------------

function frame(nowMs) {
  if (dirty) {
    dirty = false;
    write(nowMs);
  }
  const drawn = !calm.matches || nowMs - calmAtMs > CALM_MS;
  if (drawn) {
    calmAtMs = nowMs;
    const shows = model.running() || ["baseline", "low_confidence", "idle"].includes(model.screen());
    const pose = shows && !model.stale(nowMs) ? motion.at(nowMs / 1000) : null;
    const tipped = model.running() || model.screen() === "baseline" ? pose : null;
    const hidden = Boolean(model.latest.state?.prompt); // cloth, not pelvis: what is drawn is a guess
    flag(body, "unknown", model.running() && (hidden || !Number.isFinite(tipped?.obliquity_deg)));
    drawBucket(tipped);
    drawSkeleton(pose);
  }
  requestAnimationFrame(frame);
}

// Once a second: what depends on time alone, and the words for those who listen instead of looking.
function tick() {
  dirty = true;
  const since = model.running() ? (performance.now() - model.sessionAtMs) / 1000 : NaN;
  say($("clock"), Number.isFinite(since) ? clockText(since) : "");
  const left = model.metric(LEFT).value;
  const right = model.metric(RIGHT).value;
  const told = model.running() && Number.isFinite(left) && Number.isFinite(right);
  say($("bucket-says"), told ? `${t("drop_left")} ${left.toFixed(1)}°. ${t("drop_right")} ${right.toFixed(1)}°.` : t("bucket_unknown"));
}

// --- what the runner does ---------------------------------------------------------------------------------------------

async function command(name, payload = {}) {
  if (!boot.trusted) return false;
  const answer = await fetch(`/cmd/${name}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(payload) });
  return answer.ok;
}

function start() {
  const profile = new FormData($("start")).get("profile") || null;
  command("start", { profile });
}

function pain() {
  command("stop");
  say($("pain-text"), t(boot.trusted ? "pain_text" : "pain_text_remote"));
  $("pain-says").showModal();
}

$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
$("pain").addEventListener("click", pain);
$("sound").addEventListener("click", () => {
  const on = switchSound();
  $("sound").setAttribute("aria-pressed", String(on));
  say($("sound"), t(on ? "sound_on" : "sound_off"));
  set($("sound"), "i18n", soundOn() ? "sound_on" : "sound_off");
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("button,input,dialog,a")) return;
  if (event.key === " " || event.key === "Escape") model.running() && pain();
  if ((event.key === " " || event.key === "Enter") && model.screen() === "idle") start();
});

// --- begin ------------------------------------------------------------------------------------------------------------

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", retheme);
addEventListener("resize", () => (dirty = true));
boot = await (await fetch("/boot.json")).json();
const wanted = new URLSearchParams(location.search).get("lang") ?? navigator.language.slice(0, 2);
await loadStrings(boot.languages.includes(wanted) ? wanted : "en");
retheme();
requestAnimationFrame(frame);
setInterval(tick, 1000);
openLink({
  heartbeatS: boot.heartbeat_s,
  onOnline(online) {
    model.online = online;
    model.everOnline ||= online;
    dirty = true;
  },
  onSnapshot(items) {
    motion.reset();
    model.snapshot(items, performance.now());
    if (items.live) motion.add(items.live.data, performance.now() / 1000);
    dirty = true;
  },
  onNews(name, data) {
    model.news(name, data, performance.now());
    if (name === "live") data ? motion.add(data, performance.now() / 1000) : motion.reset();
    else dirty = true;
  },
});
