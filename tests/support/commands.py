"""`bpfleet` with the commands of this tree, also where the installed package does not know of them yet."""

import sys

BPFLEET = [
    sys.executable,
    "-c",
    "import sys; from importlib.metadata import EntryPoint; from bpfleet.cli import main; "
    "sys.exit(main(sys.argv[1:], {'requests': EntryPoint('requests', 'agent.cli:REQUESTS', 'bpfleet.commands')}))",
]
