"""What holds for every test: properties are judged by what they claim, never by how fast this machine is today."""

from hypothesis import HealthCheck, settings

settings.register_profile("vesemir", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vesemir")
