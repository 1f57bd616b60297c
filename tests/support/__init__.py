"""What the kernel tests stand on: places to run workloads in, faults between them, witnesses, and the agent itself."""
