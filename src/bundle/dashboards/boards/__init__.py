"""The dashboards, one file each."""

from bundle.dashboards.boards import agent, flux, namespace, network, overview, requests, security, topology, workload
from bundle.dashboards.house import Board

BOARDS: tuple[Board, ...] = tuple(
    each.BOARD for each in (overview, namespace, workload, network, requests, security, topology, agent, flux)
)
