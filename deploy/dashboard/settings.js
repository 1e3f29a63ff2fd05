'use strict'
// Node-RED for the wall of stations. Everything that differs from gym to gym is in the environment (see README.md).
const path = require('path')
const { Gym } = require('./gym.js')

const gym = new Gym({
  root: `hipline/v1/${process.env.HIPLINE_GYM}`,
  file: path.join(__dirname, 'day.json')
})

// Node-RED puts a variable in for a whole property only.
process.env.HIPLINE_TOPIC = `${gym.root}/+/+`
process.env.HIPLINE_BROKER_PORT ??= '8883'
process.env.HIPLINE_CLIENT ??= 'hipline-dashboard'

module.exports = {
  flowFile: 'flows.json',
  // The broker's password stands in the environment, not in a file: flows_cred.json only names the variable.
  credentialSecret: false,
  uiHost: process.env.HIPLINE_DASHBOARD_HOST || '127.0.0.1',
  uiPort: Number(process.env.HIPLINE_DASHBOARD_PORT || 1880),
  // No editor and no admin API: whoever sees the wall cannot change it.
  httpAdminRoot: false,
  functionExternalModules: false,
  functionGlobalContext: { gym },
  telemetry: { enabled: false, updateNotification: false },
  logging: { console: { level: 'warn', metrics: false, audit: false } },
  editorTheme: { tours: false }
}
