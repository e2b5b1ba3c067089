"""Benchmarks: ours beside each peer, in turn, in one run."""
