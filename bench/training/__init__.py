"""Trainings: a detector from labelled frames, by seeds, so that what was killed goes on and ends in the same weights.

`settings` says how, `job` what it is made of, `loop` does it. Pixels, metrics and reports come from other rooms.
"""
