"""What a cell is, and how cells are started: here, by a pool, launchers, agents, sweeps."""
