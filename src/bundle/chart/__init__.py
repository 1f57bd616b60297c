"""The agent's chart: rendered, and what is made of it."""
