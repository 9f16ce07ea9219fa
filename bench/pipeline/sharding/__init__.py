"""An experiment evaluated in parts, by processes that may be on many machines and never wait for each other.

`bench run NAME --shard K/N` evaluates the K-th of N parts, `bench merge NAME` joins them. A part is whole shards of
`bench.results.predict`: each a pure function of its frames and of one variant, in a file of its own that is placed by
one rename, under the digest of all that it depends on. So nobody needs a lock, a process that is killed loses the
shards under way, and joined results are those of a plain run.
"""
