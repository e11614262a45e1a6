"""Timing of every component and of the end-to-end run, in TVM and in other engines.

One process per engine and round, never two alive: `run` goes through the rounds, `process` runs a
task, `measure` is the task that times an engine, and each ``*_engine`` knows how one engine loads
and runs a model. `report`, `markdown` and `plot` write what came out.
"""
