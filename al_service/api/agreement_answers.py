"""What reviewers get of people's agreement, as models."""

from al_service.api.answers import Answer


class EstimateFields(Answer):
    """A figure with its 95 % interval. value: null where it is undefined; low, high: null where answers are too few."""

    value: float | None
    low: float | None
    high: float | None


class AgreementFields(Answer):
    """How far people agree; samples and answers: only samples with at least two answers count."""

    samples: int
    answers: int
    observed: EstimateFields
    fleiss_kappa: EstimateFields
    krippendorff_alpha: EstimateFields


class ClassAgreementFields(Answer):
    """One class against the others; repeated: when one person names it, how often does another name it too."""

    class_name: str
    answers: int
    repeated: EstimateFields
    agreement: AgreementFields


class SkillFields(Answer):
    """How well a person answers, as estimated from so many votes; by_class: chance of the right class where it is that
    class, null where votes are too few to tell classes apart.
    """

    accuracy: float
    answers: int
    by_class: dict[str, float] | None


class GoldResultFields(Answer):
    """A person's labels of images whose class is known for sure."""

    answered: int
    right: int
    accuracy: EstimateFields


class PersonAgreementFields(Answer):
    """One person against the others; gold, skill: null where there is none.

    alpha_with, alpha_without: Krippendorff's alpha of everybody, with and without this person's answers.
    """

    name: str
    samples: int
    comparisons: int
    observed: float | None
    cohen_kappa: float | None
    alpha_with: float | None
    alpha_without: float | None
    gold: GoldResultFields | None
    skill: SkillFields | None


class PairAgreementFields(Answer):
    """Two people on the samples that both answered."""

    first: str
    second: str
    samples: int
    observed: float
    cohen_kappa: EstimateFields


class ConfusionFields(Answer):
    """Two classes, and on how many samples one person gave the one and another the other."""

    first: str
    second: str
    samples: int


class AgreementAnswer(Answer):
    """How far a project's people agree. latest_annotation: id of the newest answer that it rests on."""

    latest_annotation: int
    overall: AgreementFields
    classes: list[ClassAgreementFields]
    people: list[PersonAgreementFields]
    pairs: list[PairAgreementFields]
    confusions: list[ConfusionFields]
