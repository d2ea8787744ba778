"""What is believed of a sample, from its answers."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from al_service.domain.annotator_skill import Skill
from al_service.domain.records import Annotation
from al_service.domain.states import AnnotationKind, SampleState
from al_service.loop.consensus import MAJORITY, Rules, believe

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def answer(word: str, person: int) -> Annotation:
    kind = {"skip": AnnotationKind.SKIP, "flag": AnnotationKind.FLAG}.get(word, AnnotationKind.LABEL)
    name = word if kind is AnnotationKind.LABEL else None
    lease = person + 1
    return Annotation(person, 1, 1, person, lease, kind, name, "key", None, None, False, None, False, NOW)


def state_of(
    *words: str, overlap: int = 1, max_skips: int = 3, rules: Rules = MAJORITY
) -> tuple[SampleState, str | None, int]:
    """What follows from these answers, each of another person."""
    answers = [answer(word, person) for person, word in enumerate(words)]
    belief = believe(answers, overlap=overlap, max_skips=max_skips, rules=rules)
    return belief.state, belief.class_name, belief.votes


def test_no_answer_means_unlabelled() -> None:
    assert state_of() == (SampleState.UNLABELLED, None, 0)


def test_one_vote_labels_without_overlap() -> None:
    assert state_of("cat") == (SampleState.LABELLED, "cat", 1)


def test_overlap_waits_for_enough_votes() -> None:
    assert state_of("cat", overlap=2)[0] is SampleState.UNLABELLED
    assert state_of("cat", "dog", "dog", overlap=3) == (SampleState.LABELLED, "dog", 2)


def test_a_tie_goes_to_the_class_named_first() -> None:
    assert state_of("dog", "cat")[1] == "dog"
    assert state_of("cat", "dog")[1] == "cat"


def test_a_flag_takes_an_unlabelled_sample_aside_but_not_a_labelled_one() -> None:
    assert state_of("flag")[0] is SampleState.FLAGGED
    assert state_of("flag", "cat")[0] is SampleState.LABELLED
    assert state_of("flag", "cat", overlap=2)[0] is SampleState.FLAGGED


def test_a_skip_is_not_done_until_too_many() -> None:
    assert state_of("skip", "skip")[0] is SampleState.UNLABELLED
    assert state_of("skip", "skip", "skip")[0] is SampleState.SKIPPED
    assert state_of("skip", "skip", "skip", "cat") == (SampleState.LABELLED, "cat", 1)


def test_one_lease_skipped_several_times_is_one_skip() -> None:
    again = [replace(answer("skip", 1), id=number) for number in range(5)]
    assert believe(again, overlap=1, max_skips=3).state is SampleState.UNLABELLED


@given(st.lists(st.sampled_from(["a", "b", "c", "skip", "flag"])), st.integers(1, 4))
def test_majority_is_a_class_somebody_named_and_nobody_named_another_more_often(words: list[str], overlap: int) -> None:
    state, name, votes = state_of(*words, overlap=overlap)
    named = [word for word in words if word not in ("skip", "flag")]
    assert (state is SampleState.LABELLED) == (len(named) >= overlap)
    if name is not None:
        assert votes == named.count(name) == max(named.count(other) for other in named)


REVIEW = Rules("review")
#: Person 0 is nearly always right, the others little more often than by chance.
SKILLS = {0: Skill(0.95, 100), 1: Skill(0.55, 100), 2: Skill(0.55, 100)}
WEIGHTED = Rules("weighted", SKILLS, {"cat": 1, "dog": 2})


def test_weights_let_one_good_person_outvote_two() -> None:
    assert state_of("cat", "dog", "dog", overlap=3) == (SampleState.LABELLED, "dog", 2)
    assert state_of("cat", "dog", "dog", overlap=3, rules=WEIGHTED) == (SampleState.LABELLED, "cat", 1)
    assert state_of("cat", "dog", overlap=3, rules=WEIGHTED)[0] is SampleState.UNLABELLED


def test_weights_are_the_majority_while_nobody_is_known() -> None:
    unknown = Rules("weighted", {0: Skill(0.95, 3)}, {"cat": 1, "dog": 2})
    assert state_of("cat", "dog", "dog", overlap=3, rules=unknown) == (SampleState.LABELLED, "dog", 2)


def test_votes_for_a_class_that_the_project_no_longer_has_are_weighed_too() -> None:
    assert state_of("owl", "dog", overlap=2, rules=WEIGHTED) == (SampleState.LABELLED, "owl", 1)


def test_review_labels_what_all_agree_on_and_sets_the_rest_aside() -> None:
    assert state_of("cat", "cat", overlap=2, rules=REVIEW) == (SampleState.LABELLED, "cat", 2)
    assert state_of("cat", "dog", overlap=2, rules=REVIEW) == (SampleState.FLAGGED, None, 0)
    assert state_of("cat", "cat", "dog", overlap=2, rules=REVIEW) == (SampleState.FLAGGED, None, 0)
    assert state_of("cat", overlap=2, rules=REVIEW)[0] is SampleState.UNLABELLED
    assert state_of("cat", rules=REVIEW) == (SampleState.LABELLED, "cat", 1)


@given(
    st.lists(st.sampled_from(["cat", "dog", "skip", "flag"]), min_size=1),
    st.integers(1, 4),
    st.sampled_from([MAJORITY, WEIGHTED, REVIEW]),
)
def test_a_verdict_wins_over_votes_by_all_rules(words: list[str], overlap: int, rules: Rules) -> None:
    answers = [answer(word, person) for person, word in enumerate(words)]
    verdict = replace(answer("bird", len(words)), is_review=True)
    belief = believe([*answers, verdict], overlap=overlap, max_skips=1, rules=rules)
    assert (belief.state, belief.class_name) == (SampleState.LABELLED, "bird")


@given(
    st.lists(st.sampled_from(["cat", "dog", "skip", "flag"])), st.integers(1, 4), st.sampled_from([WEIGHTED, REVIEW])
)
def test_rules_change_the_class_and_whether_it_is_set_aside_but_never_whether_enough_voted(
    words: list[str], overlap: int, rules: Rules
) -> None:
    ours, majority = (state_of(*words, overlap=overlap, rules=one) for one in (rules, MAJORITY))
    if ours[0] is majority[0] and ours[1] == majority[1]:
        return
    assert majority[0] is SampleState.LABELLED and len({word for word in words if word in ("cat", "dog")}) == 2
    assert ours[0] is (SampleState.FLAGGED if rules is REVIEW else SampleState.LABELLED)
