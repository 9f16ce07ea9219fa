"""Commands, one module each, named as on the command line; `run` is `bench.pipeline`."""
