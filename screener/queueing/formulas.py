"""Mean waiting times of patients with and without a tumour, read in order of arrival and in the tool's order.

Studies arrive at random (Poisson) and wait for one of *c* readers, whose reading times are exponential with one mean
for all studies: M/M/c. In order of arrival all wait alike (Erlang C). In the tool's order flagged studies are read
first, then those not assessable, then the others, each in order of arrival; a reading that has begun is not
interrupted. That is the non-preemptive priority queue of Cobham (Operations Research 1954), for several readers of
Kella & Yechiali (Naval Research Logistics 1985), as Thompson et al. (Queueing Systems 2024) use it for triage. Because
reading times do not depend on the class, the mean over all patients is the same in both orders: what some gain, others
wait.
"""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]


class Site(Struct, frozen=True, kw_only=True):
    """What a site's waiting times follow from."""

    arrivals: Annotated[float, Meta(gt=0, description="Studies a week.")]
    minutes: Annotated[float, Meta(gt=0, description="Mean minutes that one reader takes for a study.")]
    readers: Annotated[int, Meta(ge=1, description="Readers at work at the same time.")]
    hours: Annotated[float, Meta(gt=0, le=168, description="Hours a week in which they read.")]
    prevalence: Annotated[Share, Meta(description="Share of studies with a tumour.")]
    sensitivity: Annotated[Share, Meta(description="Share of tumours that are flagged.")]
    specificity: Annotated[Share, Meta(description="Share of the others that are not flagged.")]
    not_assessable: Annotated[Share, Meta(description="Share of studies that are not assessable.")] = 0.0

    @property
    def load(self) -> float:
        """Share of the readers' time that reading takes; from 1 on, the queue grows without end."""
        return self.arrivals * self.minutes / 60 / (self.readers * self.hours)

    def classes(self, *, tumour: bool) -> tuple[float, float, float]:
        """Return the shares flagged, not assessable and not flagged, of studies with or without a tumour.

        Sensitivity and specificity count what is not assessable as an error, wherever they are told.
        """
        refused = self.not_assessable
        if tumour:
            refused = min(refused, 1 - self.sensitivity)
            return self.sensitivity, refused, 1 - self.sensitivity - refused
        refused = min(refused, 1 - self.specificity)
        return 1 - self.specificity - refused, refused, self.specificity

    def shares(self) -> tuple[float, float, float]:
        """Return the shares flagged, not assessable and not flagged, of all studies."""
        with_, without = self.classes(tumour=True), self.classes(tumour=False)
        mixed = [
            self.prevalence * one + (1 - self.prevalence) * other for one, other in zip(with_, without, strict=True)
        ]
        return mixed[0], mixed[1], mixed[2]


class Waits(Struct, frozen=True):
    """Mean hours of reading time until reading begins."""

    arrival: Annotated[float, Meta(description="In order of arrival, whoever it is.")]
    tumour: Annotated[float, Meta(description="In the tool's order, with a tumour.")]
    no_tumour: Annotated[float, Meta(description="In the tool's order, without a tumour.")]


def erlang_c(readers: int, offered: float) -> float:
    """Return the chance that all readers are busy when a study arrives.

    Parameters
    ----------
    readers : int
    offered : float, in [0, readers)
        Mean number of readers that are busy.
    """
    blocked = 1.0
    for number in range(1, readers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1 - offered / readers * (1 - blocked))


def waits(site: Site) -> Waits:
    """Return the mean waiting times of a site.

    Raises
    ------
    ValueError
        The load is 1 or more: there is no mean.
    """
    if site.load >= 1:
        raise ValueError("the queue grows without end")
    service = site.minutes / 60
    busy = erlang_c(site.readers, site.load * site.readers) * service / site.readers
    before, by_class = 0.0, []
    for share in site.shares():
        after = before + site.load * share
        by_class.append(busy / ((1 - before) * (1 - after)))
        before = after

    def mean(tumour: bool) -> float:
        return math.fsum(share * wait for share, wait in zip(site.classes(tumour=tumour), by_class, strict=True))

    return Waits(busy / (1 - site.load), mean(tumour=True), mean(tumour=False))
