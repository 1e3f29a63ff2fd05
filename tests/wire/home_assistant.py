"""Runs a real Home Assistant against a broker and prints what it made of the discovery. Run by Home Assistant's Python.

home_assistant.py CONFIG_FOLDER PORT ENTITY... → JSON: entity → state, attributes, once all ENTITY know their state.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any


def prepare(folder: Path, port: int) -> None:
    """A configuration with the MQTT integration and nothing else."""
    (folder / ".storage").mkdir(parents=True)
    (folder / "configuration.yaml").write_text("homeassistant:\n  name: Gym\n", encoding="utf-8")
    entry: dict[str, Any] = {
        "created_at": "2026-01-01T00:00:00+00:00", "modified_at": "2026-01-01T00:00:00+00:00",
        "data": {"broker": "127.0.0.1", "port": port, "protocol": "5"}, "disabled_by": None,
        "discovery_keys": {}, "domain": "mqtt", "entry_id": "1", "minor_version": 1, "options": {},
        "pref_disable_new_entities": False, "pref_disable_polling": False, "source": "user", "subentries": [],
        "title": "broker", "unique_id": None, "version": 1,
    }  # fmt: skip
    store = {"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}}
    (folder / ".storage" / "core.config_entries").write_text(json.dumps(store), encoding="utf-8")


async def run(folder: Path, port: int, wanted: list[str]) -> dict[str, Any]:
    """Start, wait until the wanted entities are there and have heard something, stop."""
    from homeassistant import auth, bootstrap, config_entries, core, loader, setup

    prepare(folder, port)
    # Its core and its MQTT integration; the page, the cloud and the voice assistant stay out.
    hass = core.HomeAssistant(str(folder))
    hass.config.skip_pip = True
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    loader.async_setup(hass)
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth.auth_manager_from_config(hass, [{"type": "homeassistant"}], [])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = {"http": {"server_host": "127.0.0.1", "server_port": probe.getsockname()[1]}}
    for component in ("homeassistant", "mqtt"):
        assert await setup.async_setup_component(hass, component, server), component
    await hass.async_start()
    found: dict[str, Any] = {}
    for _ in range(300):
        ours = [state for state in hass.states.async_all() if state.entity_id.split(".")[1].startswith("treadmill_")]
        found = {s.entity_id: {"state": s.state, "attributes": dict(s.attributes)} for s in ours}
        if all(found.get(name, {}).get("state") not in (None, "unknown", "unavailable") for name in wanted):
            break
        await asyncio.sleep(0.1)
    await hass.async_stop(force=True)
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])), default=str))
