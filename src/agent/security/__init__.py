"""What watched workloads did and what policies say of it: orders for the kernel, decisions about each event."""
