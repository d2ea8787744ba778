"""How far a project's people agree: overall, by class, person and pair."""

from collections.abc import Mapping

from al_service.api.agreement_answers import (
    AgreementAnswer,
    AgreementFields,
    ClassAgreementFields,
    ConfusionFields,
    EstimateFields,
    GoldResultFields,
    PairAgreementFields,
    PersonAgreementFields,
    SkillFields,
)
from al_service.api.routing import Call, Reply, Routes
from al_service.domain.agreement import Agreement
from al_service.domain.agreement_tables import AgreementTables, PersonAgreement
from al_service.domain.annotator_skill import Skill
from al_service.domain.jackknife import Estimate
from al_service.domain.proportions import wilson_interval
from al_service.domain.records import GoldResult
from al_service.domain.states import Role
from al_service.loop.skills import ProjectAgreement

ROUTES = Routes()

#: Pairs of people and of classes: the ones with the most samples.
PAIRS_MAX = 200
NOT_IN_TABLES = PersonAgreement(0, 0, 0, None, None, None, None)


@ROUTES.add("GET", "/projects/<project>/agreement", role=Role.REVIEWER, answers={200: AgreementAnswer}, etag=True)
def show_agreement(call: Call, project: str) -> Reply:
    """How far people agree: overall, by class, person and pair, with gold accuracy; from the newest 100,000 answers."""
    found = call.services.skills.agreement(project)
    tables, names = found.tables, {info.id: info.name for info in found.project.classes}
    return Reply(
        AgreementAnswer(
            latest_annotation=found.latest_annotation,
            overall=_agreement(tables.overall),
            classes=_classes(tables, names),
            people=_people(found, names),
            pairs=_pairs(tables, found.people),
            confusions=[
                ConfusionFields(first=names[one.first], second=names[one.second], samples=one.samples)
                for one in tables.confusions[:PAIRS_MAX]
            ],
        )
    )


def _estimate(estimate: Estimate) -> EstimateFields:
    return EstimateFields(value=estimate.value, low=estimate.low, high=estimate.high)


def _agreement(agreement: Agreement) -> AgreementFields:
    return AgreementFields(
        samples=agreement.samples,
        answers=agreement.answers,
        observed=_estimate(agreement.observed),
        fleiss_kappa=_estimate(agreement.fleiss),
        krippendorff_alpha=_estimate(agreement.alpha),
    )


def _classes(tables: AgreementTables, names: Mapping[int, str]) -> list[ClassAgreementFields]:
    """In the project's order; classes that nobody named on a shared sample are left out."""
    return [
        ClassAgreementFields(
            class_name=name,
            answers=found.answers,
            repeated=_estimate(found.repeated),
            agreement=_agreement(found.agreement),
        )
        for class_id, name in names.items()
        if (found := tables.classes.get(class_id)) is not None
    ]


def _people(found: ProjectAgreement, names: Mapping[int, str]) -> list[PersonAgreementFields]:
    """By name: everybody who shares samples with somebody or was asked for gold."""
    user_ids = found.tables.people.keys() | found.gold.keys() | found.skills.keys()
    return sorted((_person(user_id, found, names) for user_id in user_ids), key=lambda one: one.name)


def _person(user_id: int, found: ProjectAgreement, names: Mapping[int, str]) -> PersonAgreementFields:
    person = found.tables.people.get(user_id, NOT_IN_TABLES)
    return PersonAgreementFields(
        name=found.people[user_id],
        samples=person.samples,
        comparisons=person.comparisons,
        observed=person.observed,
        cohen_kappa=person.kappa,
        alpha_with=person.alpha_with,
        alpha_without=person.alpha_without,
        gold=_gold(found.gold.get(user_id)),
        skill=_skill(found.skills.get(user_id), names),
    )


def _gold(result: GoldResult | None) -> GoldResultFields | None:
    if result is None:
        return None
    low, high = wilson_interval(result.right, result.answered)
    value = result.right / result.answered if result.answered else None
    return GoldResultFields(
        answered=result.answered,
        right=result.right,
        accuracy=EstimateFields(value=value, low=low, high=high),
    )


def _skill(skill: Skill | None, names: Mapping[int, str]) -> SkillFields | None:
    if skill is None:
        return None
    by_class = {names[true]: row[true] for true, row in skill.confusion.items() if true in names}
    return SkillFields(accuracy=skill.accuracy, answers=skill.answers, by_class=by_class or None)


def _pairs(tables: AgreementTables, people: Mapping[int, str]) -> list[PairAgreementFields]:
    """Those with the most shared samples first."""
    most = sorted(tables.pairs, key=lambda pair: (-pair.samples, pair.first, pair.second))[:PAIRS_MAX]
    return [
        PairAgreementFields(
            first=people[pair.first],
            second=people[pair.second],
            samples=pair.samples,
            observed=pair.observed,
            cohen_kappa=_estimate(pair.kappa),
        )
        for pair in most
    ]
