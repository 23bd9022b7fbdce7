"""The inner loops: compiled by numba, each with a plain NumPy reference."""
