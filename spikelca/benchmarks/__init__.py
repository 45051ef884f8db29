"""The benchmark: spikelca compared with other packages, one file per suite."""
