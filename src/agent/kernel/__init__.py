"""The door to the kernel: everything that talks to it, and a fake of the same shape for tests."""
