"""A scraped page, as a user's Prometheus would read it: prometheus_client's parser, not the agent's own code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """Every sample of a page by (name, labels)."""

    samples: Mapping[tuple[str, Labels], float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Page":
        """Raises ValueError on a page that is not well-formed, or that has a series twice."""
        samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                series = (sample.name, frozenset(sample.labels.items()))
                if series in samples:
                    raise ValueError(f"twice on one page: {sample.name}{sample.labels}")
                samples[series] = sample.value
        return cls(samples)

    def where(self, name: str, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        """Series with that name and (at least) those labels."""
        wanted = set(labels.items())
        for (found, have), value in self.samples.items():
            if found == name and wanted <= have:
                yield dict(have), value

    def value(self, name: str, **labels: str) -> float:
        """Their sum; 0 where there is none."""
        return sum(value for _, value in self.where(name, **labels))

    def only(self, **labels: str) -> "Page":
        """The part of the page that has those labels, e.g. one workload's."""
        wanted = set(labels.items())
        return Page({series: value for series, value in self.samples.items() if wanted <= series[1]})

    def names(self) -> set[str]:
        return {name for name, _ in self.samples}

    def buckets(self, family: str, **labels: str) -> list[tuple[float, float]]:
        """(upper bound, number of samples in this bucket alone), ascending; summed over the series."""
        cumulative: dict[float, float] = {}
        for have, value in self.where(f"{family}_bucket", **labels):
            bound = float(have["le"])
            cumulative[bound] = cumulative.get(bound, 0.0) + value
        rows, before = [], 0.0
        for bound in sorted(cumulative):
            rows.append((bound, cumulative[bound] - before))
            before = cumulative[bound]
        return rows

    def quantile(self, family: str, share: float, **labels: str) -> float:
        """As histogram_quantile() has it: linear within the bucket. Raises ValueError without samples."""
        rows = self.buckets(family, **labels)
        if not sum(count for _, count in rows):
            raise ValueError(f"no samples in {family} {labels}")
        rank, low = share * sum(count for _, count in rows), 0.0
        for bound, count in rows:
            if count and rank <= count:
                return low if bound == float("inf") else low + (bound - low) * rank / count
            rank, low = rank - count, bound
        return low
