"""Bytes and text of protocols to what they say. Pure: no clock, no I/O, nothing that is remembered without a bound."""
