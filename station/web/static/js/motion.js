// Live samples arrive up to 30 times a second and unevenly; the screen draws 60 times. Samples are laid on their own clock
// (sensor time), played back a little late, and interpolated. Before the first and after the last one the value is held.
const DELAY_S = 0.07;
const KEEP = 24;
const ANGLES = ["obliquity_deg", "rotation_deg", "tilt_deg"];

export class Motion {
  constructor() {
    this.reset();
  }

  reset() {
    this.samples = [];
    this.offsetS = null;
  }

  add(live, nowS) {
    if (!Number.isFinite(live?.t)) return;
    const last = this.samples.at(-1);
    if (last && (live.t < last.t || live.t - last.t > 2)) this.reset(); // another source, or a clip that begins again
    const offsetS = nowS - live.t;
    // The smallest offset is the least delayed sample; it may creep up, so that a drifting clock is followed.
    this.offsetS = this.offsetS === null ? offsetS : Math.min(offsetS, this.offsetS + 0.0005);
    this.samples.push(live);
    if (this.samples.length > KEEP) this.samples.shift();
  }

  at(nowS) {
    const samples = this.samples;
    if (!samples.length) return null;
    const t = nowS - this.offsetS - DELAY_S;
    let next = samples.findIndex((sample) => sample.t >= t);
    if (next < 0) next = samples.length - 1;
    const b = samples[next];
    const a = samples[Math.max(0, next - 1)];
    const w = b.t > a.t ? Math.min(1, Math.max(0, (t - a.t) / (b.t - a.t))) : 1;
    const pose = { t: a.t + (b.t - a.t) * w, side: w < 0.5 ? a.side : b.side, kp: between(a.kp, b.kp, w) };
    for (const name of ANGLES) pose[name] = mix(a.pelvis?.[name], b.pelvis?.[name], w);
    return pose;
  }
}

function mix(a, b, w) {
  if (Number.isFinite(a) && Number.isFinite(b)) return a + (b - a) * w;
  const only = w < 0.5 ? a : b;
  return Number.isFinite(only) ? only : null;
}

function between(a, b, w) {
  const mixed = {};
  for (const name in b ?? {}) {
    const q = b[name];
    const p = a?.[name] ?? q;
    mixed[name] = [p[0] + (q[0] - p[0]) * w, p[1] + (q[1] - p[1]) * w, Math.min(p[2] ?? 0, q[2] ?? 0)];
  }
  return mixed;
}
