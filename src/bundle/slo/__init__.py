"""Objectives of namespaces, and the rules made from them."""
