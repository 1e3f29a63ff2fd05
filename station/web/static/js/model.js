// What the page knows, and which screen that makes. No DOM here.
const RUN = new Set(["warming_up", "running"]);
const STALE_MS = 1500;
const PRAISE_HOLD_S = 4;
const KEEP_MS = 4000; // a rejected stride or two do not blank what the strides before them said
export const HISTORY = 64;

export class Model {
  constructor() {
    this.online = false;
    this.everOnline = false;
    this.latest = {};
    this.liveAtMs = -Infinity;
    this.sessionAtMs = 0;
    this.cueUntilMs = 0;
    this.beatSpm = 0;
    this.history = [];
    this.strides = 0;
    this.ok = null;
    this.nowMs = 0;
  }

  snapshot(items, nowMs) {
    this.latest = {};
    if (items.state?.data?.session !== this.session) this.#newRunner();
    for (const [name, { age_s, data }] of Object.entries(items)) this.news(name, data, nowMs, age_s);
  }

  news(name, data, nowMs, ageS = 0) {
    const before = this.latest[name];
    this.latest[name] = data;
    if (name === "live") this.liveAtMs = data ? nowMs - ageS * 1000 : -Infinity;
    if (name === "state") {
      if (before && before.session !== data?.session) this.#newRunner();
      if (this.session !== data?.session) this.sessionAtMs = nowMs - ageS * 1000;
      this.session = data?.session;
    }
    if (name === "cue") {
      // A cue stands until the coach clears it, however long that is configured; a praise is over by itself.
      const hold = { raise: Infinity, praise: PRAISE_HOLD_S }[data?.action] ?? 0;
      this.cueUntilMs = nowMs + (hold - ageS) * 1000;
      if (data?.action === "raise") this.beatSpm = this.#pace(data);
    }
    if (name === "stride") this.#stride(data, nowMs - ageS * 1000);
  }

  #newRunner() {
    this.history = [];
    this.strides = 0;
    this.cueUntilMs = 0;
    this.ok = null;
    delete this.latest.stride;
    delete this.latest.cue;
  }

  #stride(data, atMs) {
    if (!data) {
      this.ok = null;
      return;
    }
    if (Number.isInteger(data.seq)) this.strides = data.seq + 1;
    if (data.status !== "ok") return;
    this.ok = { data, atMs };
    const of = (side) => data.metrics?.[`pelvic_drop_peak_${side}_deg`]?.stride ?? null;
    this.history.push({ left: of("left"), right: of("right") });
    if (this.history.length > HISTORY) this.history.shift();
  }

  screen() {
    if (!this.online) return this.everOnline ? "server_lost" : "connecting";
    if (this.latest.link && !this.latest.link.broker) return "broker_lost";
    if (this.latest.status?.state === "offline") return "offline";
    return this.latest.state?.state ?? (this.latest.live ? "running" : "offline");
  }

  running() {
    return RUN.has(this.screen());
  }

  stale(nowMs) {
    return this.running() && nowMs - this.liveAtMs > STALE_MS;
  }

  // What the metronome shall beat: a twentieth above the cadence at the moment of the cue.
  #pace(cue) {
    const cadence = this.metric("cadence_spm").value;
    return cue.metric === "cadence_spm" && Number.isFinite(cadence) ? Math.round(cadence * 1.05) : 0;
  }

  // The one message of the band: a cue while it is held, else what the station asks of the runner.
  message(nowMs) {
    if (!this.running()) return null;
    const cue = this.latest.cue;
    if (cue && nowMs < this.cueUntilMs && this.screen() === "running") return { action: cue.action, cue };
    if (this.latest.state?.prompt) return { action: "prompt", prompt: this.latest.state.prompt };
    return null;
  }

  // The metric as shown: {value, ci95, stride, zone}, or {reason} when there is no number.
  metric(name) {
    if (this.screen() === "summary") {
      const summary = this.latest.summary;
      const entry = summary?.metrics?.[name];
      return Number.isFinite(entry?.median)
        ? { value: entry.median, ci95: entry.ci95, stride: null, zone: summary.zones?.[name] ?? "" }
        : { reason: "too few strides" };
    }
    let stride = this.latest.stride;
    if (!stride) return { reason: "waiting" };
    if (stride.status !== "ok" && this.ok && this.nowMs - this.ok.atMs < KEEP_MS) stride = this.ok.data;
    const entry = stride.metrics?.[name];
    if (Number.isFinite(entry?.value)) {
      return { value: entry.value, ci95: entry.ci95, stride: entry.stride, zone: stride.zones?.[name] ?? "" };
    }
    return { reason: entry?.reason ?? stride.reasons?.[0] ?? "too few strides" };
  }
}
