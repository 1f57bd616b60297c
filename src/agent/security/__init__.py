"""What watched workloads do: who is watched, what the kernel tells, what policies say to it."""
