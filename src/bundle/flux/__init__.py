"""The tree itself: rendered, validated, compared."""
