"""Stage `search`: from a latency table and images to a front of architectures, for every budget at once."""

from latnas.stages.search.config import SearchConfig
from latnas.stages.search.stage import Searched, search

__all__ = ["SearchConfig", "Searched", "search"]
