"""How long an architecture takes: who measures it, what they are given, and what becomes of their figures.

A profiler only runs things. Rounds, floors and factors are made in `measure`, so that times from different
profilers mean the same.
"""
