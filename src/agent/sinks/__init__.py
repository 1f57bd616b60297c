"""Where events go, one file a sink, through the same class that a plugin uses."""
