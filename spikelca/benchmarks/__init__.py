"""Benchmarks of spikelca compared with other packages."""
