"""From what a collector tells to what each sink gets: limits, names, time, fan-out, and books of it all."""
