"""latnas: a family of image models for one device, each within its latency budget."""

__version__ = "0.1.0"
