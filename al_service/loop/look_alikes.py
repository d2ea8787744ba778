"""Leases by groups of look-alikes, for people who label many at once."""

from collections.abc import Sequence

from al_service.domain.records import Assignment, Offer, Project, Selection, User
from al_service.loop.ports import Transaction


def in_groups(
    tx: Transaction, project: Project, user: User, offers: Sequence[Offer], held: Sequence[Assignment], wanted: int
) -> list[Offer]:
    """Up to `wanted` free selections: first the rest of the groups that this person holds some of, then the offers in
    their order, each followed by the rest of its group.

    What has no group stays where it is; so does what was moved back (a near-copy of something labelled) or forward. All
    of them are free for this person, so fairness and overlap are those of the offers.

    Cost: one statement for each group that is looked into, `wanted` at most.
    """
    given: dict[int, Offer] = {}
    seen: set[tuple[int, int]] = set()
    beside = [(lease.selection, None) for lease in held]
    for selection, offer in [*beside, *((offer.selection, offer) for offer in offers)]:
        if len(given) >= wanted:
            break
        if offer is not None:
            given.setdefault(selection.id, offer)
        group = _group_of(selection)
        if group is not None and group not in seen:
            seen.add(group)
            rest = tx.queue.free_of_group(project.id, user.id, *group, wanted - len(given) + 1)
            given |= {other.selection.id: other for other in rest if other.selection.id not in given}
    return list(given.values())[:wanted]


def _group_of(selection: Selection) -> tuple[int, int] | None:
    if selection.round_id is None or selection.look_alike is None or selection.turn != 0:
        return None
    return selection.round_id, selection.look_alike
