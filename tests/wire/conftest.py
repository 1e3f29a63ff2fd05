"""The broker for the tests of the wire."""

from tests.broker_fixture import listen, mosquitto

__all__ = ["listen", "mosquitto"]
