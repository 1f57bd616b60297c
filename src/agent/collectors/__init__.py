"""The built-in collectors, through the same class that a plugin uses."""

from agent.collectors.cgroups import Cgroups
from agent.collectors.connections import Connections
from agent.collectors.dns_names import DnsNames
from agent.collectors.drops import Drops
from agent.collectors.egress import Egress
from agent.collectors.exec import Exec
from agent.collectors.http import Http
from agent.collectors.http_bodies import HttpBodies
from agent.collectors.http_log import HttpLog
from agent.collectors.sockets import Sockets
from agent.collectors.tcp import Tcp
from agent.collectors.tcp_states import TcpStates
from agent.collectors.traffic import Traffic
from bpfleet.api import Collector

BUILT_IN: tuple[type[Collector], ...] = (
    *(Cgroups, Traffic, Tcp, Connections),
    *(Http, HttpLog, HttpBodies),
    *(TcpStates, Sockets, Drops),
    *(Exec,),
    *(DnsNames, Egress),
)
