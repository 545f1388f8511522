"""The networks: the only room that imports flax."""
