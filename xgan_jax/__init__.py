"""Unpaired face <-> anime translation in JAX/Flax, with XGAN (Royer et al. 2017) at its centre."""

__version__ = "0.1.0"
