"""Variables that several boards offer."""

from bundle.dashboards.house import Link, Variable

WORKLOADS = "bpfleet_network_io_bytes_total"

NAMESPACES = Variable("namespace", "Namespace", WORKLOADS, "Namespaces with traffic; _host is what runs outside pods.")
NAMESPACE = Variable("namespace", "Namespace", WORKLOADS, "One namespace; _host is what runs outside pods.", many=False)
IN_NAMESPACES = Variable(
    "workload", "Workload", f'{WORKLOADS}{{namespace=~"$namespace"}}', "Workloads of the chosen namespaces."
)
WORKLOAD = Variable(
    "workload", "Workload", f'{WORKLOADS}{{namespace="$namespace"}}', "One workload of the namespace.", many=False
)
NODES = Variable("node", "Node", "bpfleet_build_info", "Nodes with an agent.")

TO_NAMESPACE = Link("Open the namespace", "bpfleet-namespace", ("namespace",))
TO_WORKLOAD = Link("Open the workload", "bpfleet-workload", ("namespace", "workload"))
TO_WORKLOAD_HERE = Link("Open the workload", "bpfleet-workload", ("workload",), kept=("namespace",))
"""From a board of one namespace, whose series do not tell it."""
