"""What a collector is: a BPF C file, where it hooks in, and how its maps become samples.

A collector declares facts as class attributes and yields what happened since the last drain. It knows neither
Kubernetes nor Prometheus, keeps no thread and no totals.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

from bpfleet.events import Event, Record
from bpfleet.metrics import (
    Counter,
    Distribution,
    Flow,
    Histogram,
    Metric,
    NetworkNamespace,
    Observations,
    Sample,
    Summary,
    Summed,
    UpDownCounter,
)
from bpfleet.options import Option, OptionValue
from bpfleet.sending import Batch, Retry, Unavailable, Written

__all__ = [
    "AnyOf",
    "Batch",
    "CgroupAddress",
    "CgroupChange",
    "CgroupPacket",
    "Channel",
    "Collector",
    "Counter",
    "Distribution",
    "Event",
    "Flow",
    "Fragment",
    "Histogram",
    "Maps",
    "Metric",
    "NetworkNamespace",
    "Observations",
    "Option",
    "OptionValue",
    "Packet",
    "Plugin",
    "Probe",
    "Process",
    "RawTracepoint",
    "Record",
    "Retry",
    "Row",
    "Sample",
    "Sink",
    "SocketIterator",
    "Summary",
    "Summed",
    "TailCall",
    "TracingTracepoint",
    "Unavailable",
    "UpDownCounter",
    "Walk",
    "Written",
]

Row = tuple[bytes, tuple[int, ...]]
"""A map's key as the C struct's bytes, and its value as a tuple of its u64 members."""


class Maps(Protocol):
    """A collector's own maps, by their name in C. Values are structs of u64 only."""

    def growth(self, name: str) -> Iterator[Row]:
        """Rows of a hash that changed since the last call, with what was added to each member. A row is done with when
        the next one is asked for: where a collector fails, the rows that it did not come to are offered again.
        Rows that stay idle are removed from the kernel later, without losing a count."""

    def totals(self, name: str) -> tuple[int, ...]:
        """Sum over CPUs of a one-row per-CPU array."""

    def deliver(self, channel: str, count: int) -> None:
        """Say that `count` things that entered a channel were counted (seen = delivered + lost)."""

    def records(self, name: str) -> Iterator[bytes]:
        """The records of a ring buffer since the last call."""

    def replace(self, name: str, rows: Mapping[bytes, tuple[int, ...]]) -> int:
        """Make a hash or a trie of prefixes (lpm_trie), which programs read and nobody else writes, hold these rows and
        no others. A row that is as it was costs no system call. Returns how many found no room."""

    def walk(self, function: str) -> bytes:
        """Run the iterator of a Walk over everything that there is now; what its program wrote (bpf_seq_write)."""

    def enumeration(self, name: str) -> Mapping[int, str]:
        """The running kernel's own names of an enumeration's values, for one that the collector has declared in
        `enumerations`. Empty where the kernel has no such enumeration or no BTF."""

    def walk_parts(self, function: str) -> Iterator[bytes]:
        """The same in parts, each of whole bpf_seq_write()s, so that a long walk is never here as a whole."""


@dataclass(frozen=True)
class Probe:
    """A hook point and the C function that runs there.

    beside: a function that this one completes; where that is not in use, nor is this.
    capabilities: what loading and attaching takes. since: first kernel that has the hook, for messages."""

    function: str
    beside: str = field(default="", kw_only=True)
    capabilities: ClassVar[tuple[str, ...]] = ("BPF",)
    since: ClassVar[str] = "5.10"

    @property
    def hook(self) -> str:
        return type(self).__name__


@dataclass(frozen=True)
class Packet(Probe):
    """A function `static inline void f(struct __sk_buff *skb, struct packet *p)` called for each packet of a socket,
    in both directions; its file is a fragment of packet.bpf.c."""

    capabilities = ("BPF", "NET_ADMIN")

    @property
    def hook(self) -> str:
        return "cgroup_skb"


@dataclass(frozen=True)
class CgroupPacket(Probe):
    """`direction` ingress | egress: a cgroup_skb link on the cgroup v2 root."""

    direction: str = "ingress"
    capabilities = ("BPF", "NET_ADMIN")

    @property
    def hook(self) -> str:
        return f"cgroup_skb/{self.direction}"


@dataclass(frozen=True)
class CgroupAddress(Probe):
    """`int f(struct bpf_sock_addr *ctx)`, a cgroup link on the cgroup v2 root, run where a process names the other end
    of a socket. `call` connect4 | connect6 | sendmsg4 | sendmsg6. Return 1: with anything else the call is refused."""

    call: str = "connect4"
    capabilities: ClassVar[tuple[str, ...]] = ("BPF", "NET_ADMIN")

    @property
    def hook(self) -> str:
        return f"cgroup/{self.call}"


@dataclass(frozen=True)
class TailCall(Probe):
    """`int f(struct __sk_buff *skb)`, in which the fragment's function can leave the packet program of a direction:
    `BPF_PROG_ARRAY(table, 1)` and `table.call(skb, 0)`. Such a fragment is called after all others."""

    direction: str = "ingress"
    table: str = ""
    capabilities = ("BPF", "NET_ADMIN")

    @property
    def hook(self) -> str:
        return f"tail_call/{self.direction}/{self.table}"


@dataclass(frozen=True)
class RawTracepoint(Probe):
    """A raw tracepoint: `int f(struct bpf_raw_tracepoint_args *ctx)`."""

    tracepoint: str = ""
    capabilities = ("BPF", "PERFMON")

    @property
    def hook(self) -> str:
        return f"raw_tracepoint/{self.tracepoint}"


@dataclass(frozen=True)
class TracingTracepoint(Probe):
    """A BTF tracepoint (`int f(u64 *ctx)`), which may use socket storage. Needs BTF."""

    tracepoint: str = ""
    capabilities = ("BPF", "PERFMON")
    since = "5.11"

    @property
    def hook(self) -> str:
        return f"tp_btf/{self.tracepoint}"


@dataclass(frozen=True)
class SocketIterator(Probe):
    """`int f(u64 *ctx)` on iter/task_file, walked once when the agent starts. Needs BTF, and hostPID in a pod."""

    capabilities = ("BPF", "PERFMON")

    @property
    def hook(self) -> str:
        return "iter/task_file"


@dataclass(frozen=True)
class Walk(Probe):
    """`int f(u64 *ctx)` on iter/<target>, walked whenever the collector asks for it (Maps.walk). ctx: what the kernel's
    `struct bpf_iter__<target>` holds. Needs BTF, and hostPID in a pod where it is over tasks.
    table: the map that it walks over, of a target that is one (bpf_sk_storage_map)."""

    target: str = "task_file"
    table: str = ""
    capabilities = ("BPF", "PERFMON")

    @property
    def hook(self) -> str:
        return f"iter/{self.target}/{self.table}" if self.table else f"iter/{self.target}"


@dataclass(frozen=True)
class AnyOf:
    """Alternatives in order of preference: the first that loads is used."""

    probes: tuple[Probe, ...]
    optional: bool = False


@dataclass(frozen=True)
class Fragment:
    """The program that a collector's file becomes part of."""

    program: str
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class Channel:
    """A way from the kernel to user space whose books balance: seen = delivered + lost.

    In C: `BPF_PERCPU_ARRAY(books_<name>, struct <name>_books, 1)` with u64 seen, then one u64 per reason of `lost`.
    seen_by: where each run of these functions is one thing seen, their names; the row then has no `seen`.
    runs: of functions on tracepoints each of whose runs is for one thing: what the kernel leaves out, because the same
    program runs already on that CPU, is seen and lost as `left_out`."""

    name: str
    lost: tuple[str, ...] = ()
    seen_by: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


class CgroupChange(NamedTuple):
    """A cgroup that was made or removed. path: from the v2 root; None where it was too long to be told."""

    cgroup_id: int
    removed: bool
    path: str | None


class Process(NamedTuple):
    """A process, and the network namespace that it lives in (as NetworkNamespace has it).

    number: in the machine's first process id namespace, so 1 is its init."""

    namespace: int
    cgroup_id: int
    number: int


class Plugin:
    """What collectors and sinks have in common. name: what settings, metrics and logs call it."""

    name: ClassVar[str]
    default: ClassVar[bool] = True
    """Whether it runs unless told otherwise: a collector by `collectors: [+name]`, a sink by any option of its own."""

    options: ClassVar[tuple[Option, ...]] = ()
    """What users may set. A built-in one's are the settings of the section with its name."""

    def __init__(self, given: Mapping[str, OptionValue] | None = None) -> None:
        """given: values of some options, checked already; the others have their defaults."""
        self.given: Mapping[str, OptionValue] = {each.name: each.default for each in self.options} | dict(given or {})


class Collector(Plugin):
    """One question. Built-in collectors and plugins use this same class.

    event_names: of what events() yields. enumerations: of the kernel (`enum skb_drop_reason`), whose values differ from
    version to version: count by number in the kernel, name in user space (Maps.enumeration)."""

    program: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ()  # further C files of a long program, in their order
    base: ClassVar[Fragment | None] = None
    probes: ClassVar[tuple[Probe | AnyOf, ...]] = ()
    metrics: ClassVar[tuple[Metric, ...]] = ()
    channels: ClassVar[tuple[Channel, ...]] = ()
    event_names: ClassVar[tuple[str, ...]] = ()
    enumerations: ClassVar[tuple[str, ...]] = ()
    interval: ClassVar[str] = ""
    """The option that says how many seconds lie between two calls of collect(); without one each drain calls it."""
    since: ClassVar[str] = "5.10"
    """The first kernel that has the instructions of its program. On an older one a fragment is not tried: it would make
    the verifier refuse the programs of those that it is part of."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.program, *self.parts)

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        """Constants (`#define NAME value`) that the C file is compiled with. limits: the settings' `limits`."""
        return {}

    def meet(self, others: Sequence["Collector"]) -> None:
        """Those that run, this one among them: told again when one has joined or left. For a collector that tells what
        it has with what another one knows."""

    def collect(self, maps: Maps) -> Iterator[Sample]:
        """What was counted since the last call."""
        return iter(())

    def events(self, maps: Maps) -> Iterator[Event]:
        """What happened since the last call, one by one."""
        return iter(())

    def cgroups(self, maps: Maps) -> Iterator[CgroupChange]:
        """Cgroups that came and went since the last call, for whoever names them. Asked first of all, so that what is
        counted in a cgroup that is gone has a name."""
        return iter(())

    def processes(self, maps: Maps, hooks: Collection[str]) -> Callable[[], Iterator[Process]] | None:
        """A way to list the processes of now with their network namespaces, for whoever names those. hooks: those in
        use. None where it has no such way; of several collectors with one, the first is asked."""
        return None


class Sink(Plugin):
    """A place that events go to. Built-in sinks and plugins use this same class.

    Between encode() and write() there is a bounded queue, which does all the counting, the waiting for a batch and the
    offering again. batch, retry: what it is asked to do, by a class or by each of its objects."""

    batch: Batch = Batch()
    retry: Retry = Retry()

    def encode(self, record: Record) -> bytes:
        """An event as it is sent. On the thread that drains the kernel, so it may not wait. Raises ValueError for what
        cannot be said."""
        raise NotImplementedError

    def write(self, items: Sequence[bytes]) -> int | Written:
        """Send some, on a thread of the sink's own. Returns how many of them, from the first on, are through, or what
        else became of them; the others are offered again. Raises Unavailable where all of them shall be, after a while.
        Whatever else it raises, all of these items are lost. To be asked to end it has to return within a second."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing comes after this. Called from another thread than write(), which may not have returned."""
