"""The tree as Flux sees it: steps in order, variables put in, charts rendered; and what is wrong with it."""
