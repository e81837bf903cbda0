"""Ranking architectures cheaply: zero-cost proxies, short trainings, the accuracy model, the surrogate."""
