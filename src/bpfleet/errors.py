"""What can go wrong, as one tree.

BpfleetError
├── SettingsError     a setting is unknown, of a wrong type or impossible; names file and line
│   └── OptionError   what one option of a sink names cannot be used; who reads settings adds file and line
├── KernelError       the kernel refused something; names what and why
│   ├── CompileError  a BPF C file does not compile; names file and line
│   ├── LoadError     the verifier, a missing capability or a missing hook
│   └── HeadersError  neither BTF nor kernel headers
├── HostError         this machine lacks what the agent needs (cgroup v2, a free port, the only agent)
├── ClusterError      the Kubernetes API cannot be used
├── PolicyError       a security policy is wrong; names file and line
└── BundleError       a file of the bundle is wrong; names file and line
    └── ToolError     a program that checks the bundle is missing, or says no
"""


class BpfleetError(Exception):
    """Base of all: its text is for the person who runs bpfleet."""


class SettingsError(BpfleetError):
    pass


class OptionError(SettingsError):
    """option: its name among the sink's own (`ca_file`)."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(problem)
        self.option = option


class KernelError(BpfleetError):
    pass


class CompileError(KernelError):
    pass


class LoadError(KernelError):
    pass


class HeadersError(KernelError):
    pass


class HostError(BpfleetError):
    pass


class ClusterError(BpfleetError):
    pass


class PolicyError(BpfleetError):
    pass


class BundleError(BpfleetError):
    pass


class ToolError(BundleError):
    pass
