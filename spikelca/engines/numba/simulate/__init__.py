"""Time-stepped runs: rate and spiking, lateral and residual wiring."""
