// Optional: a short tone when a cue appears, and a metronome at the pace the coach asks for. Off until asked for.
let context = null;
let beatTimer = 0;
let beatSpm = 0;

export function soundOn() {
  return context !== null;
}

export function switchSound() {
  if (context) {
    context.close();
    context = null;
    metronome(0);
  } else {
    context = new AudioContext();
    tone(880, 0.08);
  }
  return soundOn();
}

export function tone(hz, seconds) {
  if (!context) return;
  const [voice, gain] = [context.createOscillator(), context.createGain()];
  voice.frequency.value = hz;
  gain.gain.setValueAtTime(0.25, context.currentTime);
  gain.gain.exponentialRampToValueAtTime(0.001, context.currentTime + seconds);
  voice.connect(gain).connect(context.destination);
  voice.start();
  voice.stop(context.currentTime + seconds);
}

// Beats a minute; 0 = silence.
export function metronome(spm) {
  const wanted = context ? Math.round(spm) : 0;
  if (wanted === beatSpm) return;
  beatSpm = wanted;
  clearInterval(beatTimer);
  if (wanted) beatTimer = setInterval(() => tone(1320, 0.03), 60000 / wanted);
}
