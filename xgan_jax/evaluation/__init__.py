"""Pictures and figures out: grids, translations of files, measures."""
