"""How kernels are compiled, vectorised, laid out in memory and run in parallel."""
