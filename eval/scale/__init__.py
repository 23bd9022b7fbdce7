"""A simulation of searches over 1 to 10,000 shards, which backs `lfm2-retrieve plan`'s model of latency."""
