"""Which requests are told of one by one, and what of them: per namespace, and more than the default for a time only."""
