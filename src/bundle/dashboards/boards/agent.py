"""Do the agents count everything, what does it cost, and what is off, and why?"""

from bundle.dashboards.asking import WANTED, rate, share
from bundle.dashboards.boards.choices import NODES
from bundle.dashboards.house import Board, Kind, Panel, Query, Row

CHOSEN = 'node=~"$node"'
OURS = "* on (instance) group_left () bpfleet_build_info"
"""Of the processes that Prometheus knows, those that are agents."""

BOARD = Board(
    uid="bpfleet-agent",
    title="bpfleet / Agent health",
    description="The agents themselves: what they lost, what is off, and what they cost.",
    variables=(NODES,),
    rows=(
        Row(
            100,
            "Complete?",
            (
                Panel(
                    1,
                    "Agents",
                    "Agents by version, kernel and source of kernel types.",
                    "short",
                    (
                        Query(
                            f"count by (version, kernel, headers) (bpfleet_build_info{{{CHOSEN}}})",
                            "{{version}} on {{kernel}}, types from {{headers}}",
                        ),
                    ),
                    Kind.NUMBER,
                    width=6,
                    height=5,
                ),
                Panel(
                    2,
                    "Collectors that are off",
                    "Collectors that were to count and do not.",
                    "short",
                    (Query(f"count(bpfleet_collector_up{{{CHOSEN}}} == 0) or vector(0)", "off"),),
                    Kind.NUMBER,
                    width=6,
                    height=5,
                    bad=1,
                ),
                Panel(
                    3,
                    "Lost",
                    "Share of what entered a channel that is known not to have been counted, or not under its own "
                    "labels; without what a policy leaves aside.",
                    "percentunit",
                    (
                        Query(
                            share(rate("bpfleet_lost_total", f"{CHOSEN},{WANTED}"), rate("bpfleet_seen_total", CHOSEN)),
                            "lost",
                        ),
                    ),
                    Kind.NUMBER,
                    width=6,
                    height=5,
                    bad=0.01,
                    empty="nothing is seen.",
                ),
                Panel(
                    4,
                    "Settings",
                    "Agents whose last reading of the settings was refused, and settings that wait for a restart.",
                    "short",
                    (
                        Query(f"sum(1 - bpfleet_config_last_reload_successful{{{CHOSEN}}})", "refused"),
                        Query(f"sum(bpfleet_config_restart_required{{{CHOSEN}}})", "wait for a restart"),
                    ),
                    Kind.NUMBER,
                    width=6,
                    height=5,
                    bad=1,
                ),
                Panel(
                    5,
                    "Lost, by channel and reason",
                    "What is known not to have been counted, or not under its own labels; and what a policy leaves "
                    "aside.",
                    "ops",
                    (Query(rate("bpfleet_lost_total", CHOSEN, "channel", "reason"), "{{channel}} {{reason}}"),),
                    width=12,
                ),
                Panel(
                    6,
                    "What is off",
                    "Collectors and sinks that are off, with the reason.",
                    "short",
                    (
                        Query(
                            "count by (collector, reason) "
                            f'(bpfleet_collector_info{{{CHOSEN},reason!=""}} '
                            f"and on (instance, collector) bpfleet_collector_up{{{CHOSEN}}} == 0)",
                            "collectors",
                        ),
                        Query(
                            f'count by (sink, reason) (bpfleet_sink_info{{{CHOSEN},reason!=""}})',
                            "sinks",
                        ),
                    ),
                    Kind.TABLE,
                    width=12,
                    empty="nothing is off.",
                ),
            ),
        ),
        Row(
            101,
            "Cost",
            (
                Panel(
                    10,
                    "CPU of the agents",
                    "CPU time of the agents' processes a second, in user space.",
                    "percentunit",
                    (
                        Query(
                            f"sum by (node) (rate(process_cpu_seconds_total{{{CHOSEN}}}[$__rate_interval]) {OURS})",
                            "{{node}}",
                        ),
                    ),
                ),
                Panel(
                    11,
                    "CPU of the programs",
                    "Run time of the BPF programs a second, in the kernel.",
                    "percentunit",
                    (Query(rate("bpfleet_program_run_seconds_total", CHOSEN, "program"), "{{program}}"),),
                    stacked=True,
                ),
                Panel(
                    12,
                    "Time of a run",
                    "Mean run time of each BPF program.",
                    "s",
                    (
                        Query(
                            rate("bpfleet_program_run_seconds_total", CHOSEN, "program")
                            + f" / ({rate('bpfleet_program_runs_total', CHOSEN, 'program')} > 0)",
                            "{{program}}",
                        ),
                    ),
                ),
                Panel(
                    13,
                    "Memory of the agents",
                    "Resident memory of the agents' processes.",
                    "bytes",
                    (
                        Query(
                            f"sum by (node) (process_resident_memory_bytes{{{CHOSEN}}} {OURS})",
                            "{{node}}",
                        ),
                    ),
                ),
                Panel(
                    14,
                    "Memory of the maps",
                    "Kernel memory of the BPF maps.",
                    "bytes",
                    (Query(f"sum by (map) (bpfleet_map_bytes{{{CHOSEN}}})", "{{map}}"),),
                    stacked=True,
                ),
                Panel(
                    15,
                    "Fill of the maps",
                    "Rows, of those that a map can hold; where it is full, names are lost, not counts.",
                    "percentunit",
                    (
                        Query(
                            f"max by (map) (bpfleet_map_entries{{{CHOSEN}}} / (bpfleet_map_capacity{{{CHOSEN}}} > 0))",
                            "{{map}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            102,
            "Pages and sinks",
            (
                Panel(
                    20,
                    "Series",
                    "Series by state: exposed, withheld until scraped once, other (what exceeded the budget).",
                    "short",
                    (Query(f"sum by (state) (bpfleet_series{{{CHOSEN}}})", "{{state}}"),),
                ),
                Panel(
                    21,
                    "Scrapes",
                    "How long Prometheus takes to read an agent's page.",
                    "s",
                    (Query(f"max by (node) (scrape_duration_seconds{{{CHOSEN}}} {OURS})", "{{node}}"),),
                ),
                Panel(
                    22,
                    "Steps that failed",
                    "Steps of a drain that failed; the others went on.",
                    "ops",
                    (Query(rate("bpfleet_drain_failures_total", CHOSEN, "step"), "{{step}}"),),
                    empty="no step fails.",
                ),
                Panel(
                    23,
                    "Events at sinks",
                    "What became of events at each sink.",
                    "ops",
                    (Query(rate("bpfleet_sink_events_total", CHOSEN, "sink", "outcome"), "{{sink}} {{outcome}}"),),
                    empty="no collector tells of events.",
                ),
                Panel(
                    24,
                    "Events that wait",
                    "For their owner's name, or in a sink's queue.",
                    "short",
                    (Query(f"sum by (stage) (bpfleet_events_waiting{{{CHOSEN}}})", "{{stage}}"),),
                    empty="no collector tells of events.",
                ),
                Panel(
                    25,
                    "Restarts",
                    "Time since each agent started.",
                    "s",
                    (Query(f"min by (node) ((time() - process_start_time_seconds{{{CHOSEN}}}) {OURS})", "{{node}}"),),
                ),
            ),
        ),
    ),
)
