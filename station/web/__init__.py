"""The runner's screen: a Flask application in its own process, one subscriber of the station's loopback MQTT.

It knows what the broker tells it and nothing else: no camera, no model, no frame is reachable from here.
"""
