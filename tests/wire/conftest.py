"""The broker for the tests of the wire."""

from hypothesis import HealthCheck, settings

from tests.broker_fixture import listen, mosquitto

__all__ = ["listen", "mosquitto"]

# Slow is not wrong: a machine may be busy with something else.
settings.register_profile("wire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wire")
