'use strict'
// What a gym's staff want to know of their stations, from the MQTT messages of docs/formats.md. No Node-RED in here:
// the flow calls hear(topic, text, retained) for every message and look() once a second for what the page shows.

const fs = require('fs')

const SILENT_S = 20 // three healths missed
const RAISE_AFTER = 3 // bad healths in a row before an alarm
const CLEAR_AFTER = 6 // good ones before it goes: an alarm that flickers is not believed
const TREND_POINTS = 120
const TREND_EVERY_S = 5
const SESSIONS = 300
const RUNNING = ['baseline', 'warming_up', 'running', 'low_confidence']

// Reason → [is it bad?, is it good again?] of a health. Between the two nothing changes: that is the hysteresis.
const HEALTH_ALARMS = {
  'camera dirty': [c => c.camera.dirty === true || c.camera.dirty > 0.5, c => !c.camera.dirty || c.camera.dirty < 0.3],
  dark: [c => known(c.camera.light) && c.camera.light < 0.2, c => !known(c.camera.light) || c.camera.light > 0.3],
  misaligned: [
    c => c.camera.framing === false || (known(c.camera.framing) && c.camera.framing < 0.5),
    c => c.camera.framing === null || c.camera.framing === true || c.camera.framing > 0.6
  ],
  hot: [c => known(c.temp_c) && c.temp_c > 80, c => !known(c.temp_c) || c.temp_c < 75],
  throttled: [c => c.throttled === true, c => c.throttled !== true],
  slow: [c => known(c.fps_out) && c.fps_out < 20, c => !known(c.fps_out) || c.fps_out > 24],
  'losing records': [c => Object.keys(c.lost || {}).length > 0, c => Object.keys(c.lost || {}).length === 0]
}

function known (value) {
  return typeof value === 'number'
}

function newer (a, b) {
  const parts = text => String(text).split(/[.+-]/).map(part => (/^\d+$/.test(part) ? Number(part) : -1))
  const [x, y] = [parts(a), parts(b)]
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    if ((x[i] ?? 0) !== (y[i] ?? 0)) return (x[i] ?? 0) > (y[i] ?? 0)
  }
  return false
}

class Gym {
  // root: 'hipline/v1/<gym>'; clock: seconds since 1970; file: where the day is kept over a restart (optional)
  constructor ({ root, clock = () => Date.now() / 1000, file = null }) {
    this.root = root
    this.clock = clock
    this.file = file
    this.stations = new Map()
    this.sessions = [] // today's, newest first
    this.hours = {} // 'YYYY-MM-DD' → 24 numbers: seconds run
    this.unreadable = 0
    this.looked = clock()
    if (file) this.restore()
  }

  hear (topic, text) {
    if (!topic.startsWith(this.root + '/')) return
    const [name, kind, ...more] = topic.slice(this.root.length + 1).split('/')
    if (more.length || !['status', 'state', 'stride', 'session', 'health', 'link'].includes(kind)) return
    const station = this.station(name)
    if (kind === 'session' && String(text) === '') return this.erase(station)
    let message
    try {
      message = JSON.parse(text)
    } catch {
      this.unreadable++
      return
    }
    if (kind === 'link') station.link = message === 1
    else if (message === null || typeof message !== 'object') this.unreadable++
    else this.take(kind, station, message)
  }

  take (kind, station, message) {
    try {
      this[kind](station, message)
    } catch {
      this.unreadable++ // no payload of docs/formats.md: one station's nonsense must not stop the wall
    }
  }

  station (name) {
    if (!this.stations.has(name)) {
      this.stations.set(name, {
        name, online: null, link: null, state: 'idle', since: this.clock(), version: null, update: null, health: null,
        heard: null, alarms: {}, bad: {}, good: {}, reading: null, seen: null, trend: [], last: null
      })
    }
    return this.stations.get(name)
  }

  status (station, message) {
    station.online = message.state === 'online'
    station.version = message.version
    station.update = message.update || null
  }

  state (station, message) {
    if (message.state !== station.state) station.since = this.clock()
    station.state = message.state
    if (!RUNNING.includes(message.state)) station.reading = null
  }

  stride (station, message) {
    // QoS 1 and the station's repetitions: the second of each is not counted.
    if (station.seen && station.seen.session === message.session && message.seq <= station.seen.seq) return
    station.seen = { session: message.session, seq: message.seq }
    if (message.status !== 'ok') return
    const value = name => (message.metrics[name] ? message.metrics[name].value : null)
    station.reading = {
      cadence: value('cadence_spm'),
      left: value('pelvic_drop_peak_left_deg'),
      right: value('pelvic_drop_peak_right_deg'),
      stability: value('stability'),
      at: this.clock()
    }
    const last = station.trend[station.trend.length - 1]
    if (!last || station.reading.at - last.at >= TREND_EVERY_S) {
      station.trend.push(station.reading)
      if (station.trend.length > TREND_POINTS) station.trend.shift()
    }
  }

  session (station, message) {
    const known = this.sessions.find(s => s.station === station.name && s.session === message.session)
    if (known) return
    const median = name => (message.metrics[name] ? message.metrics[name].median : null)
    station.last = message.session
    this.sessions.unshift({
      station: station.name,
      session: message.session,
      start: message.start,
      minutes: message.duration_s / 60,
      strides: message.strides,
      cadence: median('cadence_spm'),
      left: median('pelvic_drop_peak_left_deg'),
      right: median('pelvic_drop_peak_right_deg')
    })
    this.sessions.length = Math.min(this.sessions.length, SESSIONS)
  }

  erase (station) {
    this.sessions = this.sessions.filter(s => !(s.station === station.name && s.session === station.last))
    station.trend = []
    station.reading = null
  }

  health (station, message) {
    station.health = message
    station.heard = this.clock()
    const checked = { ...message, camera: message.camera || {} }
    for (const [reason, [isBad, isGood]] of Object.entries(HEALTH_ALARMS)) {
      this.count(station, reason, isBad(checked), isGood(checked), RAISE_AFTER, CLEAR_AFTER)
    }
  }

  // An alarm rises after so many bad looks in a row and goes after so many good ones.
  count (station, reason, bad, good, raiseAfter, clearAfter) {
    station.bad[reason] = bad ? (station.bad[reason] || 0) + 1 : 0
    station.good[reason] = good ? (station.good[reason] || 0) + 1 : 0
    if (station.bad[reason] >= raiseAfter && !station.alarms[reason]) station.alarms[reason] = this.clock()
    if (station.good[reason] >= clearAfter) delete station.alarms[reason]
  }

  isThere (station) {
    return station.online !== false && station.link !== false
  }

  // What the page shows now. Called once a second.
  look () {
    const now = this.clock()
    const newest = [...this.stations.values()].map(s => s.version).filter(Boolean).reduce((a, b) => (newer(b, a) ? b : a), '0')
    for (const station of this.stations.values()) {
      const there = this.isThere(station)
      const silent = there && station.heard !== null && now - station.heard > SILENT_S
      this.count(station, 'offline', !there, there, 1, 5)
      this.count(station, 'silent', silent, !silent, 1, 5)
      this.count(station, 'camera lost', station.state === 'camera_lost', station.state !== 'camera_lost', 1, 5)
      const failed = Boolean(station.update && station.update.state === 'failed')
      this.count(station, 'update failed', failed, !failed, 1, 1)
      const outdated = Boolean(station.version) && newer(newest, station.version)
      this.count(station, 'outdated', outdated, !outdated, 60, 1)
      if (there && RUNNING.includes(station.state)) this.use(now, Math.min(5, Math.max(0, now - this.looked)))
    }
    this.looked = now
    this.forget(now)
    return this.shown(now)
  }

  use (now, seconds) {
    const when = new Date(now * 1000)
    const day = dayOf(now)
    this.hours[day] = this.hours[day] || new Array(24).fill(0)
    this.hours[day][when.getHours()] += seconds
  }

  forget (now) {
    const today = dayOf(now)
    this.hours = this.hours[today] ? { [today]: this.hours[today] } : {}
    this.sessions = this.sessions.filter(s => !s.start || dayOf(Date.parse(s.start) / 1000) === today)
  }

  shown (now) {
    const stations = [...this.stations.values()].sort((a, b) => a.name.localeCompare(b.name)).map(s => ({
      name: s.name,
      there: this.isThere(s),
      state: this.isThere(s) ? s.state : 'offline',
      running: this.isThere(s) && RUNNING.includes(s.state),
      since: Math.round(now - s.since),
      version: s.version,
      alarms: Object.entries(s.alarms).map(([reason, at]) => ({ reason, minutes: Math.floor((now - at) / 60) })),
      reading: s.reading && now - s.reading.at < 15 ? s.reading : null,
      fps: s.health && this.isThere(s) ? s.health.fps_out : null,
      temp: s.health && this.isThere(s) ? s.health.temp_c : null,
      trend: s.trend
    }))
    return {
      at: now,
      stations,
      online: stations.filter(s => s.there).length,
      running: stations.filter(s => s.running).length,
      help: stations.filter(s => s.alarms.length).length,
      // Pseudonymous: the random name of a session says nothing about its runner, and its first half is enough here.
      sessions: this.sessions.slice(0, 50).map(s => ({ ...s, session: s.session.slice(0, 4) })),
      minutesByHour: (this.hours[dayOf(now)] || new Array(24).fill(0)).map(seconds => Math.round(seconds / 60)),
      unreadable: this.unreadable
    }
  }

  // The day survives a restart of the dashboard; what stations are doing comes back by itself (retained messages).
  save () {
    if (!this.file) return
    const text = JSON.stringify({ sessions: this.sessions, hours: this.hours })
    fs.writeFileSync(this.file + '.new', text, { mode: 0o600 })
    fs.renameSync(this.file + '.new', this.file)
  }

  restore () {
    try {
      const saved = JSON.parse(fs.readFileSync(this.file, 'utf8'))
      this.sessions = Array.isArray(saved.sessions) ? saved.sessions : []
      this.hours = saved.hours || {}
    } catch {
      // No file yet, or a broken one: the day begins anew.
    }
  }
}

function dayOf (seconds) {
  const day = new Date(seconds * 1000)
  return [day.getFullYear(), day.getMonth() + 1, day.getDate()].map(n => String(n).padStart(2, '0')).join('-')
}

module.exports = { Gym, newer }
