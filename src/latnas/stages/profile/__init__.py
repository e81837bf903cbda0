"""Stage `profile`: measures what the networks of a space cost on a device, and how well that can be predicted."""

from latnas.stages.profile.config import ProfileConfig
from latnas.stages.profile.stage import Profiled, profile, setting_of
from latnas.stages.profile.verify import Verification, verify

__all__ = ["ProfileConfig", "Profiled", "Verification", "profile", "setting_of", "verify"]
