"""Ranking architectures cheaply: zero-cost proxies, short and long trainings, the accuracy model."""
