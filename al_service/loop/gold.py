"""Gold in the stream: samples whose class is known for sure, hidden among what people are asked.

What a person gets looks like the image beside it: same round, same rank, "random check".
"""

from collections.abc import Sequence

from al_service.domain.draws import is_drawn
from al_service.domain.records import Gold, Offer, Project, Selection, User
from al_service.domain.states import Lane
from al_service.loop.ports import Transaction


def with_gold(tx: Transaction, project: Project, user: User, offers: Sequence[Offer]) -> list[Offer]:
    """The offers with gold in front of some of them, drawn by person and selection; as many as there were.

    Cost: nothing where nothing is drawn, else one statement and one for each gold.
    """
    drawn = [offer for offer in offers if _is_drawn(project, user, offer.selection)]
    golds = tx.lanes.gold_for(project.id, user.id, len(drawn)) if drawn else []
    before = {offer.selection.id: gold for offer, gold in zip(drawn, golds, strict=False)}
    mixed: list[Offer] = []
    for offer in offers:
        if offer.selection.id in before and len(mixed) < len(offers):
            gold = before[offer.selection.id]
            mixed.append(Offer(_ask(tx, gold, user, offer.selection), gold.sample))
        mixed.append(offer)
    return mixed[: len(offers)]


def _is_drawn(project: Project, user: User, selection: Selection) -> bool:
    share, key = project.config.gold_share, f"{user.id}:{selection.id}"
    return selection.lane is Lane.BATCH and is_drawn("gold", key, share=share, seed=project.config.seed)


def _ask(tx: Transaction, gold: Gold, user: User, beside: Selection) -> Selection:
    reason = {
        "code": "random",
        "round": beside.round_number,
        "rank": beside.rank,
        "look_alike": beside.look_alike,
    }
    return tx.lanes.add(gold.sample, Lane.GOLD, answers=1, turn=0, user_id=user.id, reason=reason)
