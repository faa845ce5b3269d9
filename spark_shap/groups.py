"""Groups of features that are one player each, as a caller names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["group_problems"]


def group_problems(groups: Mapping[str, Sequence[str]], features: Sequence[str] | None) -> list[str]:
    """Return what is wrong with groups, one line each: name of the group, what, the way out.

    Parameters
    ----------
    groups
        Names of groups, each with its features.
    features
        The model's features; None where they are not known yet.
    """
    problems: list[str] = []
    owner: dict[str, str] = {}
    for name, members in groups.items():
        if not members:
            problems.append(f"{name}: it is empty; name its features, or remove it")
        for member in members:
            if owner.get(member) == name:
                problems.append(f"{name}: it names {member!r} twice; keep one")
            elif member in owner:
                problems.append(f"{name}: {member!r} is in {owner[member]} already; a feature is in one group at most")
            else:
                owner[member] = name
        if features is None:
            continue
        if name in features:
            problems.append(f"{name}: a feature has that name; give the group another")
        missing = [member for member in members if member not in features]
        if missing:
            problems.append(f"{name}: {missing[0]!r} is no feature; they are {', '.join(features)}")
    return problems
