"""Pages of agents, written line by line: what a workload tells of one peer and port."""

from typing import NamedTuple

from agent.metrics import labels

IDENTITY = ("namespace", "pod", "container", "workload", "workload_kind")
PEER = ("transport", "port", "peer_kind", "peer_namespace", "peer_name", "zone", "peer_zone")

SERIES = {
    "sent": ("bpfleet_flow_bytes_total", {"direction": "transmit"}),
    "received": ("bpfleet_flow_bytes_total", {"direction": "receive"}),
    "retransmitted": ("bpfleet_flow_tcp_retransmissions_total", {}),
    "opened": ("bpfleet_flow_tcp_connects_total", {"result": "success"}),
    "failed": ("bpfleet_flow_tcp_connects_total", {"result": "refused"}),
    "accepted": ("bpfleet_flow_tcp_accepts_total", {}),
    "asked": ("bpfleet_flow_http_requests_total", {"role": "client", "result": "success"}),
    "asked_errors": ("bpfleet_flow_http_requests_total", {"role": "client", "result": "error"}),
    "asked_seconds": ("bpfleet_flow_http_request_duration_seconds_sum", {"role": "client"}),
    "served": ("bpfleet_flow_http_requests_total", {"role": "server", "result": "success"}),
    "served_errors": ("bpfleet_flow_http_requests_total", {"role": "server", "result": "error"}),
    "served_seconds": ("bpfleet_flow_http_request_duration_seconds_sum", {"role": "server"}),
}


class Who(NamedTuple):
    namespace: str
    workload: str
    kind: str
    pod: str = ""


class Peer(NamedTuple):
    kind: str
    namespace: str = ""
    name: str = ""


def told(
    who: Who, peer: Peer, port: int, transport: str = "tcp", zones: tuple[str, str] = ("", ""), **figures: float
) -> str:
    """Lines of one flow. figures: of SERIES."""
    lines = []
    for word, value in figures.items():
        name, own = SERIES[word]
        identity = labels.pairs(IDENTITY, (who.namespace, who.pod, "", who.workload, who.kind))
        tail = labels.pairs(PEER, (transport, str(port), *peer, *zones))
        middle = "".join(f',{key}="{text}"' for key, text in own.items())
        lines.append(f"{name}{{{identity}{middle},{tail}}} {value}\n")
    return "".join(lines)


def backend(namespace: str, service: str, port: int, pod: str, pod_port: int) -> str:
    values = (namespace, service, "tcp", str(port), pod, str(pod_port))
    names = ("peer_namespace", "peer_name", "transport", "port", "backend_pod", "backend_port")
    return f"bpfleet_service_backend_info{{{labels.pairs(names, values)}}} 1\n"


def container(who: Who, node: str) -> str:
    identity = labels.pairs(IDENTITY, (who.namespace, who.pod, "main", who.workload, who.kind))
    return f'bpfleet_container_info{{{identity},node="{node}",image="i"}} 1\n'
