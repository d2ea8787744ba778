"""Gold in the stream: samples whose class is known for sure, hidden among what people are asked.

Whoever can tell gold works carefully on it and hastily on the rest, so gold answers every question as an image of the
batch does: it has the round, the reason and the look-alikes of the image beside it, and the model's own opinion of it.
"""

from collections.abc import Sequence

from al_service.domain.draws import is_drawn
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Gold, Offer, Project, Selection, User
from al_service.domain.states import Lane
from al_service.loop.ports import Transaction


def with_gold(tx: Transaction, project: Project, user: User, offers: Sequence[Offer]) -> list[Offer]:
    """The offers with gold in front of some of them, drawn by person and selection; as many as there were.

    A selection that is offered again, because the gold before it took its place, brings no further gold.

    Cost: nothing where nothing is drawn, else one statement, one more where gold is due, and one for each gold.
    """
    drawn = [offer.selection for offer in offers if _is_drawn(project, user, offer.selection)]
    before = _gold_before(tx, project, user, drawn) if drawn else {}
    mixed: list[Offer] = []
    for offer in offers:
        gold = before.get(offer.selection.id)
        if gold is not None and len(mixed) < len(offers):
            mixed.append(Offer(_ask(tx, gold, user, offer.selection), gold.sample))
        mixed.append(offer)
    return mixed[: len(offers)]


def asked_by(selection: Selection) -> int | None:
    """The id of the round that asks, as far as who is asked may know: gold's is that of the image beside it."""
    round_id: int | None = selection.round_id
    return selection.reason.get("round_id") if selection.lane is Lane.GOLD else round_id


def _is_drawn(project: Project, user: User, selection: Selection) -> bool:
    """Gold comes on top of what is drawn here: a share s of all is one before s / (1 - s) of the others."""
    share, key = project.config.gold_share, f"{user.id}:{selection.id}"
    odds = share / (1 - share)
    return selection.lane is Lane.BATCH and is_drawn("gold", key, share=odds, seed=project.config.seed)


def _gold_before(tx: Transaction, project: Project, user: User, drawn: Sequence[Selection]) -> dict[int, Gold]:
    """Selection id -> the gold to put before it, for those that this person got none before."""
    had = tx.lanes.with_gold_before(project.id, user.id, [selection.id for selection in drawn])
    due = [selection for selection in drawn if selection.id not in had]
    if not due:
        return {}
    others_tell = any(selection.likely for selection in due)
    with_opinion = others_tell and not _may_hide_among_blind(project.config)
    golds = tx.lanes.gold_for(project.id, user.id, len(due), with_opinion=with_opinion)
    return {selection.id: gold for selection, gold in zip(due, golds, strict=False)}


def _may_hide_among_blind(config: ProjectConfig) -> bool:
    """Whether enough images are kept blind for gold without an opinion of the model to be one of many."""
    return config.blind_share >= config.gold_share


def _ask(tx: Transaction, gold: Gold, user: User, beside: Selection) -> Selection:
    likely = gold.likely if beside.likely else None
    reason = {
        **beside.reason,
        "beside": beside.id,
        "round": beside.round_number,
        "round_id": beside.round_id,
        "look_alike": beside.look_alike,
        "blind": bool(beside.likely) and not likely,
    }
    return tx.lanes.add(gold.sample, Lane.GOLD, answers=1, turn=0, user_id=user.id, reason=reason, likely=likely)
