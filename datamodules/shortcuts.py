"""What a net could tell people by without knowing people: trivial cues of a pixel, and how well each tells alpha."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.augment.photometric import LUMA

CUES = ("sharpness", "position", "colour", "noise", "motion")
WINDOW = 5  # pixels, side of the box that a cue is averaged over
NUM_CELLS = 8  # of each axis of position and of colour, where the prior is a table
NUM_FOLDS = 5
NUM_BINS = 512
NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Seen:
    """One clip's pixels, as an audit looks at them.

    Attributes:
        person: who it is: clips of one person are drawn, and left out, together.
        is_person: (N,) whether alpha > 0.5.
        soft: share of pixels whose alpha lies between 0.02 and 0.98.
        values: of each cue, (N,) float where it is a number; (N,) int64, a cell of a table, of position and colour;
            a still has no motion.
    """

    person: str
    is_person: Tensor
    soft: float
    values: Mapping[str, Tensor]


@dataclass(frozen=True)
class Estimate:
    """A number, and its 95 % interval over people by bootstrap."""

    value: float
    low: float
    high: float


def look(frames: Tensor, alpha: Tensor, person: str) -> Seen:
    """The cues of all pixels of a clip.

    Sharpness is the Laplacian's size, noise what a 3 × 3 median takes away where the picture is flat (of each window
    the least of its 3 × 3 boxes), motion the normal flow |I_t − I_{t−1}| / (|∇I_t| + 0.05), all of luma and averaged
    over a window; position is a cell of the frame; colour one of luma × saturation, which know no skin.

    Args:
        frames: (T, 3, H, W) float in [0, 1].
        alpha: (T, 1, H, W) float in [0, 1].
        person: who it is.
    """
    luma = (frames * frames.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    right, down = (luma - luma.roll(1, dim) for dim in (-1, -2))
    laplacian = 4 * luma - sum(luma.roll(step, dim) for step in (1, -1) for dim in (-1, -2))
    residual = (luma - _median(luma)).abs()
    height, width = luma.shape[-2:]
    rows = (torch.arange(height) * NUM_CELLS // height)[:, None]
    columns = torch.arange(width) * NUM_CELLS // width
    saturation = frames.amax(1, keepdim=True) - frames.amin(1, keepdim=True)
    cells = [(each * NUM_CELLS).long().clamp(0, NUM_CELLS - 1) for each in (luma, saturation)]
    values = {
        "sharpness": _mean(laplacian.abs()),
        "position": (rows * NUM_CELLS + columns).expand_as(luma),
        "colour": cells[0] * NUM_CELLS + cells[1],
        "noise": -F.max_pool2d(-_mean(residual, 3), WINDOW, 1, WINDOW // 2),
    }
    last = slice(len(frames) > 1, None)  # the first frame of a clip has no motion
    if len(frames) > 1:
        change = (luma[1:] - luma[:-1]).abs()
        values["motion"] = _mean(change / ((right**2 + down**2).sqrt()[1:] + 0.05))
    # Rolled differences and boxes are not whole along the border.
    kept = slice(1, -1)
    seen = {
        name: value[last if name != "motion" else slice(None), :, kept, kept].flatten()
        for name, value in values.items()
    }
    soft = ((alpha > 0.02) & (alpha < 0.98)).float().mean()
    return Seen(person, (alpha > 0.5)[last, :, kept, kept].flatten(), float(soft), seen)


def _mean(values: Tensor, window: int = WINDOW) -> Tensor:
    return F.avg_pool2d(values, window, 1, window // 2, count_include_pad=False)


def _median(luma: Tensor) -> Tensor:
    """Median of each pixel's 3 × 3 neighbours; (T, 1, H, W)."""
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2).median(-1).values


def audit(clips: Sequence[Seen], seed: int = 0) -> dict[str, Estimate]:
    """How well each cue tells people from places in some clips, and their share of soft pixels ("soft").

    That is the area under the curve of true against false positives, every clip's pixels weighing the same: 0.5 not at
    all, below it people have less of the cue than places. Cues that fewer than two people's clips have are left out.
    A number ranks pixels by itself. A cell of position or of colour is ranked by how often it was person in the other
    clips (folds of people), so that nothing is learned from the clip that it is asked of.

    Args:
        clips: at least two people, each with pixels of both kinds somewhere.
        seed: of folds and resampling.

    Raises:
        ValueError: there are fewer than two people.
    """
    people = sorted({clip.person for clip in clips})
    if len(people) < 2:
        raise ValueError(f"an audit compares people: it needs clips of two at least, got {len(people)}")
    generator = torch.Generator().manual_seed(seed)
    folds = dict(zip(people, (torch.randperm(len(people), generator=generator) % NUM_FOLDS).tolist(), strict=True))
    told = {}
    for cue in CUES:
        having = [clip for clip in clips if cue in clip.values]
        if len({clip.person for clip in having}) > 1:
            counts = _counts(having, _scores(having, cue, folds))
            told[cue] = _estimate(_area, counts, [clip.person for clip in having], generator)
    soft = torch.tensor([clip.soft for clip in clips], dtype=torch.float64)
    told["soft"] = _estimate(_mean_of, soft, [clip.person for clip in clips], generator)
    return told


def _scores(clips: Sequence[Seen], cue: str, folds: Mapping[str, int]) -> list[Tensor]:
    """What ranks each clip's pixels by a cue."""
    values = [clip.values[cue] for clip in clips]
    if values[0].is_floating_point():
        return values
    num_cells = NUM_CELLS**2
    tables = [
        torch.stack([torch.bincount(cells[which], minlength=num_cells) for which in (~clip.is_person, clip.is_person)])
        / max(len(cells), 1)
        for clip, cells in zip(clips, values, strict=True)
    ]
    scores = []
    for clip, cells in zip(clips, values, strict=True):
        other = torch.stack(
            [table for table, each in zip(tables, clips, strict=True) if folds[each.person] != folds[clip.person]]
        ).sum(0)
        share = (other[1] + 1e-3 * other[1].sum() / num_cells) / (other.sum(0) + 1e-3 * other.sum() / num_cells)
        scores.append(share[cells])
    return scores


def _counts(clips: Sequence[Seen], scores: Sequence[Tensor]) -> Tensor:
    """(clips, 2, bins): share of a clip's pixels that are place, and person, with a score in each bin."""
    pooled = torch.cat([each[:: max(len(each) // 2000, 1)] for each in scores]).double()
    edges = torch.quantile(pooled[:: max(len(pooled) // 10**6, 1)], torch.linspace(0, 1, NUM_BINS + 1).double()[1:-1])
    edges = edges.unique()
    rows = []
    for clip, score in zip(clips, scores, strict=True):
        bins = torch.bucketize(score.double(), edges)
        kinds = [torch.bincount(bins[which], minlength=len(edges) + 1) for which in (~clip.is_person, clip.is_person)]
        rows.append(torch.stack(kinds).double() / len(score))
    return torch.stack(rows)


def _area(weights: Tensor, counts: Tensor) -> Tensor:
    """(R,) areas under the curve of counts (clips, 2, bins) under R times other weights (R, clips)."""
    place, person = torch.einsum("rc,ckb->krb", weights, counts)
    return (person * (place.cumsum(1) - place / 2)).sum(1) / (person.sum(1) * place.sum(1))


def _mean_of(weights: Tensor, values: Tensor) -> Tensor:
    """(R,) means of values (clips,)."""
    return weights @ values / weights.sum(1)


def _estimate(
    statistic: Callable[[Tensor, Tensor], Tensor], values: Tensor, people: Sequence[str], generator: torch.Generator
) -> Estimate:
    """A statistic of clips under weights, and its interval when people are drawn again."""
    persons = sorted(set(people))
    owners = torch.tensor([persons.index(person) for person in people])
    drawn = torch.randint(len(persons), (NUM_RESAMPLES, len(persons)), generator=generator)
    times = torch.stack([row.bincount(minlength=len(persons)) for row in drawn])[:, owners].double()
    weights = torch.cat([torch.ones(1, len(owners), dtype=torch.float64), times])
    results = statistic(weights, values)
    low, high = torch.nanquantile(results[1:], torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(float(results[0]), low, high)
