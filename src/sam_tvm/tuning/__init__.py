"""Functions that MetaSchedule found better loops for than our rules, by machine.

A file ``<mcpu>.json`` beside this one holds what was found on a machine, and is used where the
target of a build is that CPU with the same features. `scripts/tune_with_metaschedule.py` writes it.
"""
