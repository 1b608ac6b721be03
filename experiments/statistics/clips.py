"""What scores `(seeds, clips)` are of: whom a clip shows, in which condition, and what is left out as one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Clips:
    """What the columns of a `(seeds, clips)` array are.

    Attributes:
        foreground: (clips,) name of the foreground clip: clips that share it are one cluster.
        stratum: (clips,) name of the condition.
    """

    foreground: NDArray[np.str_]
    stratum: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.foreground)

    @property
    def strata(self) -> list[str]:
        """Names of the strata, sorted."""
        return sorted(set(self.stratum.tolist()))

    @property
    def num_foregrounds(self) -> int:
        """How many clusters there are."""
        return len(set(self.foreground.tolist()))

    @cached_property
    def weights(self) -> FloatArray:
        """(clips,), sum 1: clips of a stratum weigh the same, strata weigh the same."""
        _, member, size = np.unique(self.stratum, return_inverse=True, return_counts=True)
        return 1.0 / (len(size) * size[member])

    def take(self, columns: NDArray[np.bool_]) -> Clips:
        """The clips of some columns."""
        return Clips(self.foreground[columns], self.stratum[columns])

    @cached_property
    def units(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """What is left out as one: (units, clips) which clips, (units,) the group of strata that it lies in.

        A unit is a foreground with all its clips. Strata that share foregrounds form one group. Where a stratum
        shows one foreground alone, its clips are the units, and nothing is said about other people.
        """
        foregrounds, column = np.unique(self.foreground, return_inverse=True)
        strata, row = np.unique(self.stratum, return_inverse=True)
        shown = np.zeros((len(strata), len(foregrounds)), dtype=int)
        shown[row, column] = 1
        linked = shown @ shown.T > 0
        for _ in range(len(strata).bit_length()):
            linked = linked @ linked  # by one between, by three, by seven …
        group = linked.argmax(axis=1)  # the first that each is linked with
        units: list[NDArray[np.bool_]] = []
        groups: list[int] = []
        for place in range(len(strata)):
            members = np.flatnonzero(group == place)
            inside = np.isin(row, members)
            if len(members) and shown[members].sum(axis=1).min() > 1:
                found = [inside & (column == one) for one in np.unique(column[inside])]
                units, groups = units + found, groups + [place] * len(found)
                continue
            for member in members:
                clips = np.flatnonzero(row == member)
                if len(clips) > 1:
                    units += [np.arange(len(self)) == clip for clip in clips]
                    groups += [len(strata) + int(member)] * len(clips)
        return np.array(units, dtype=bool).reshape(-1, len(self)), np.array(groups, dtype=np.int64)

    @cached_property
    def without_each(self) -> FloatArray:
        """(1 + units, clips): `weights`, and those without each unit, strata weighing the same as before."""
        found = [self.weights]
        for unit in self.units[0]:
            weights = np.where(unit, 0.0, self.weights)
            for stratum in set(self.stratum[unit].tolist()):
                inside = self.stratum == stratum
                weights[inside] *= self.weights[inside].sum() / weights[inside].sum()
            found.append(weights)
        return np.array(found)
