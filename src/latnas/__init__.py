"""latnas: a family of image models for one device, each within its latency budget."""

import os

__version__ = "0.1.0"

# ONNX Runtime would write an id of this device into the home folder, and report to its makers. Set it to 0 to let it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Else CUDA counts GPUs from the fastest on, and its cuda:1 is another one than that of nvidia-smi, which names it.
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
