"""The hypernetwork: from a position in the budget range to a distribution over architectures, and what it proposes."""
