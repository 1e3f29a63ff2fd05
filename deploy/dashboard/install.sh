#!/bin/sh
# Installs the wall of stations into a folder: install.sh FOLDER. Needs node 20 or later and npm. Run it again to update.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: install.sh FOLDER" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)

for program in node npm; do
    command -v "$program" >/dev/null || { echo "$program: not installed (Debian: apt-get install nodejs npm)" >&2; exit 2; }
done

cp "$here/package.json" "$here/gym.js" "$here/settings.js" "$folder/"
# The page lies beside the flow, so that both can be read; Node-RED wants it inside.
HERE="$here" FOLDER="$folder" node -e '
const fs = require("fs")
const { HERE, FOLDER } = process.env
const flows = JSON.parse(fs.readFileSync(`${HERE}/flows.in.json`, "utf8"))
flows.find(node => node.format === "@PAGE@").format = fs.readFileSync(`${HERE}/page.vue`, "utf8")
fs.writeFileSync(`${FOLDER}/flows.json`, JSON.stringify(flows, null, 1))
const credentials = { "hip-broker": { user: "${HIPLINE_USER}", password: "${HIPLINE_PASSWORD}" } }
fs.writeFileSync(`${FOLDER}/flows_cred.json`, JSON.stringify(credentials))
'
if [ ! -d "$folder/node_modules/node-red" ] || [ ! -d "$folder/node_modules/@flowfuse/node-red-dashboard" ]; then
    echo "installing Node-RED into $folder (a minute or two)"
    (cd "$folder" && npm install --omit=dev --no-audit --no-fund --ignore-scripts)
fi
echo "installed; the README says how to start it"
