"""Trees level by level: the arrays that a batch by hand needs (F1 and F2).

The one idea: rows are laid out by height (leaves first), and within a level by the level of the parent, so that what
a level needs from below is a few whole slices of earlier levels. Everything is a handful of numpy calls per batch.
"""

from __future__ import annotations

import numpy as np
import torch


def heights(parents: list[int]) -> np.ndarray:
    """Return the height of every node: 0 at a leaf."""
    height = np.zeros(len(parents), dtype=np.int64)
    for node in range(len(parents)):
        above, steps = node, 0
        while above >= 0 and (steps == 0 or height[above] < steps):
            height[above] = max(height[above], steps)
            above, steps = parents[above], steps + 1
    return height


class Plan:
    """Where the nodes of a batch lie: by height, and within a height by the height of the parent (roots last).

    A tree is its words, its parents (-1 at the root) and its heights. `order` is the nodes in their new places;
    `counts[l, m]` says how many nodes of level l have their parent in level m (the last column: none); `rows[m]` are
    the parents, as rows of level m, of the nodes that those slices of lower levels bring together.
    """

    def __init__(self, trees: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        words, parents, height = (np.concatenate(part) for part in zip(*trees))
        sizes = np.array([len(tree[0]) for tree in trees])
        parents = np.where(parents < 0, -1, parents + np.repeat(np.cumsum(sizes) - sizes, sizes))
        self.top = int(height.max()) + 1
        above = np.where(parents < 0, self.top, height[parents])
        order = np.lexsort((above, height))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        self.order, self.words = order, torch.from_numpy(words[order])
        above, height, parents = above[order], height[order], parents[order]
        self.start = np.searchsorted(height, np.arange(self.top + 1))
        self.counts = np.zeros((self.top, self.top + 1), dtype=np.int64)
        np.add.at(self.counts, (height, above), 1)
        edges = np.argsort(above, kind="stable")
        bounds = np.searchsorted(above[edges], np.arange(self.top + 2))
        self.children = [torch.from_numpy(edges[bounds[m] : bounds[m + 1]]) for m in range(self.top)]
        rows = place[parents[edges]]
        self.rows = [torch.from_numpy(rows[bounds[m] : bounds[m + 1]] - self.start[m]) for m in range(self.top)]
        ends = edges[bounds[self.top] :]
        self.roots = torch.from_numpy(np.argsort(np.searchsorted(np.cumsum(sizes), order[ends], side="right")))
        self.ends = torch.from_numpy(ends)
