"""Tests of `bench`. Loaded before NumPy, torch and the rest, which count the cores when they are loaded."""

from tests.support.pace import stay_on_one_core

stay_on_one_core()
