"""Pictures out: grids, translations of files, and (later) measures."""
