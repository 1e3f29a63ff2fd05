'use strict'
// node --test deploy/dashboard
const test = require('node:test')
const assert = require('node:assert')
const fs = require('fs')
const os = require('os')
const path = require('path')
const { Gym, newer } = require('./gym.js')

const ROOT = 'hipline/v1/gym'
const HEALTH = {
  fps_in: 30, fps_out: 30, dropped: 0, outbox: 0, lost: {}, temp_c: 60, throttled: false, rss_mb: 300,
  camera: { light: 0.7, blur: null, framing: true, dirty: false, calibrated: true }
}

function make (more = {}) {
  const time = { now: new Date(2026, 10, 22, 10, 0).getTime() / 1000 }
  const gym = new Gym({ root: ROOT, clock: () => time.now, ...more })
  const say = (name, kind, payload) => gym.hear(`${ROOT}/${name}/${kind}`, typeof payload === 'string' ? payload : JSON.stringify(payload))
  const alarms = name => gym.look().stations.find(s => s.name === name).alarms.map(a => a.reason)
  return { gym, time, say, alarms }
}

function stride (seq, cadence = 170, session = '4f9c2b7e') {
  return { status: 'ok', session, seq, metrics: { cadence_spm: { value: cadence }, pelvic_drop_peak_left_deg: { value: null, reason: 'gap' } } }
}

test('who is there and who runs', () => {
  const { gym, say } = make()
  say('tm-02', 'status', { state: 'online', version: '1.0.0' })
  say('tm-01', 'status', { state: 'online', version: '1.0.0' })
  say('tm-01', 'state', { state: 'running' })
  let shown = gym.look()
  assert.deepStrictEqual(shown.stations.map(s => [s.name, s.state]), [['tm-01', 'running'], ['tm-02', 'idle']])
  assert.deepStrictEqual([shown.online, shown.running, shown.help], [2, 1, 0])
  say('tm-01', 'link', '0') // the whole station is gone: the bridge's will, while its status still says online
  shown = gym.look()
  assert.deepStrictEqual([shown.online, shown.running, shown.help], [1, 0, 1])
  assert.strictEqual(shown.stations[0].state, 'offline')
})

test('an alarm needs three bad healths and six good ones, and a middle reading changes nothing', () => {
  const { say, alarms } = make()
  const hot = temp => say('tm-01', 'health', { ...HEALTH, temp_c: temp })
  hot(85); hot(85)
  assert.deepStrictEqual(alarms('tm-01'), [])
  hot(85)
  assert.deepStrictEqual(alarms('tm-01'), ['hot'])
  for (let i = 0; i < 20; i++) hot(78) // below the one, above the other threshold
  assert.deepStrictEqual(alarms('tm-01'), ['hot'])
  for (let i = 0; i < 5; i++) hot(70)
  assert.deepStrictEqual(alarms('tm-01'), ['hot'])
  hot(70)
  assert.deepStrictEqual(alarms('tm-01'), [])
})

test('every reason for help is told', () => {
  const bad = {
    'camera dirty': { camera: { ...HEALTH.camera, dirty: true } },
    dark: { camera: { ...HEALTH.camera, light: 0.1 } },
    misaligned: { camera: { ...HEALTH.camera, framing: false } },
    hot: { temp_c: 90 },
    throttled: { throttled: true },
    slow: { fps_out: 12 },
    'losing records': { lost: { rows_full: 3 } }
  }
  for (const [reason, change] of Object.entries(bad)) {
    const { say, alarms } = make()
    for (let i = 0; i < 3; i++) say('tm-01', 'health', { ...HEALTH, ...change })
    assert.deepStrictEqual(alarms('tm-01'), [reason])
  }
})

test('what is not known is no alarm', () => {
  const { say, alarms } = make()
  const unknown = { fps_out: null, temp_c: null, throttled: null, camera: { light: null, blur: null, framing: null, dirty: null, calibrated: null } }
  for (let i = 0; i < 9; i++) say('tm-01', 'health', unknown)
  assert.deepStrictEqual(alarms('tm-01'), [])
})

test('silence, a failed update, an old version, a lost camera', () => {
  const { gym, time, say, alarms } = make()
  say('tm-01', 'status', { state: 'online', version: '1.9.0', update: { state: 'failed' } })
  say('tm-02', 'status', { state: 'online', version: '1.10.0', update: { state: 'idle' } })
  say('tm-02', 'state', { state: 'camera_lost' })
  say('tm-01', 'health', HEALTH)
  assert.deepStrictEqual(alarms('tm-01'), ['update failed'])
  assert.deepStrictEqual(alarms('tm-02'), ['camera lost'])
  for (let i = 0; i < 61; i++) { time.now++; gym.look() }
  assert.deepStrictEqual(alarms('tm-01').sort(), ['outdated', 'silent', 'update failed'])
  assert.ok(newer('1.10.0', '1.9.3'))
  assert.ok(!newer('1.9.3', '1.9.3'))
})

test('a stride that comes twice counts once, and a reading does not outlive its run', () => {
  const { gym, time, say } = make()
  say('tm-01', 'state', { state: 'running' })
  say('tm-01', 'stride', stride(1, 170))
  time.now += 6
  say('tm-01', 'stride', stride(1, 999))
  say('tm-01', 'stride', stride(2, 172))
  let [station] = gym.look().stations
  assert.strictEqual(station.reading.cadence, 172)
  assert.strictEqual(station.reading.left, null)
  assert.deepStrictEqual(station.trend.map(p => p.cadence), [170, 172])
  time.now += 16;
  [station] = gym.look().stations
  assert.strictEqual(station.reading, null)
})

test('sessions of today, pseudonymous, erased when the runner wishes', () => {
  const { gym, time, say } = make()
  const session = (name, start) => ({ session: name, start, duration_s: 1200, strides: 1600, metrics: { cadence_spm: { median: 169 } } })
  say('tm-01', 'session', session('0000aaaa', new Date(2026, 10, 21, 20).toISOString())) // yesterday's, retained
  say('tm-01', 'session', session('1111bbbb', new Date(2026, 10, 22, 9).toISOString()))
  say('tm-01', 'session', session('1111bbbb', new Date(2026, 10, 22, 9).toISOString()))
  say('tm-02', 'session', session('2222cccc', new Date(2026, 10, 22, 9).toISOString()))
  assert.deepStrictEqual(gym.look().sessions.map(s => s.session), ['2222', '1111'])
  say('tm-01', 'session', '')
  assert.deepStrictEqual(gym.look().sessions.map(s => s.session), ['2222'])
  time.now += 24 * 3600
  assert.deepStrictEqual(gym.look().sessions, [])
})

test('utilisation by hour', () => {
  const { gym, time, say } = make()
  say('tm-01', 'state', { state: 'running' })
  say('tm-02', 'state', { state: 'running' })
  say('tm-03', 'state', { state: 'idle' })
  for (let i = 0; i < 1800; i++) { time.now++; gym.look() }
  assert.strictEqual(gym.look().minutesByHour[10], 60) // two stations, half an hour
})

test('the day survives a restart, a broken file does not stop it', () => {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'gym-')), 'day.json')
  const { gym, time, say } = make({ file })
  say('tm-01', 'state', { state: 'running' })
  for (let i = 0; i < 120; i++) { time.now++; gym.look() }
  gym.save()
  assert.strictEqual(make({ file }).gym.look().minutesByHour[10], 2)
  fs.writeFileSync(file, '{')
  assert.strictEqual(make({ file }).gym.look().minutesByHour[10], 0)
})

test('nonsense is counted and changes nothing', () => {
  const { gym, say } = make()
  for (const text of ['', '{', 'null', '3', '[]', '"x"', '{"state": 3}', '{"metrics": {}}', '{"status": "ok"}']) {
    for (const kind of ['status', 'state', 'stride', 'health', 'link', 'live', 'cmd/start']) {
      say('tm-01', kind, text)
      gym.hear('elsewhere/' + kind, text)
    }
  }
  assert.ok(gym.look().unreadable > 0)
})
