"""latnas: a family of image models for one device, each within its latency budget."""

import os

__version__ = "0.1.0"

# ONNX Runtime would write an id of this device into the home folder, and report to its makers. Set it to 0 to let it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
