"""What an interface carried and no socket's cgroup saw, per direction and exact."""

from dataclasses import dataclass

from tests.support.namespaces import ETHERNET_HEADER, Interface
from tests.support.pages import Page

PACKETS = "bpfleet_network_io_packets_total"
BYTES = "bpfleet_network_io_bytes_total"


@dataclass(frozen=True)
class Remainder:
    """Packets, and their bytes from the IP header on, that the cgroups of a namespace have less than its interface."""

    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int


NOTHING = Remainder(0, 0, 0, 0)


def remainder(carried: Interface, page: Page, link_header: int = ETHERNET_HEADER) -> Remainder:
    """carried: growth of the interface's counters. page: of all cgroups in its namespace, that began at 0."""
    return Remainder(
        carried.rx_packets - int(page.value(PACKETS, direction="receive")),
        carried.rx_bytes - carried.rx_packets * link_header - int(page.value(BYTES, direction="receive")),
        carried.tx_packets - int(page.value(PACKETS, direction="transmit")),
        carried.tx_bytes - carried.tx_packets * link_header - int(page.value(BYTES, direction="transmit")),
    )
