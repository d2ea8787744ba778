"""What is believed of a sample, from its answers."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from al_service.domain.records import Annotation
from al_service.domain.states import AnnotationKind, SampleState
from al_service.loop.consensus import believe

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def answer(word: str, person: int) -> Annotation:
    kind = {"skip": AnnotationKind.SKIP, "flag": AnnotationKind.FLAG}.get(word, AnnotationKind.LABEL)
    name = word if kind is AnnotationKind.LABEL else None
    return Annotation(person, 1, 1, person, 1, kind, name, "key", None, None, False, None, False, NOW)


def state_of(*words: str, overlap: int = 1, max_skips: int = 3) -> tuple[SampleState, str | None, int]:
    """What follows from these answers, each of another person."""
    answers = [answer(word, person) for person, word in enumerate(words)]
    belief = believe(answers, overlap=overlap, max_skips=max_skips)
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


@given(st.lists(st.sampled_from(["a", "b", "c", "skip", "flag"])), st.integers(1, 4))
def test_majority_is_a_class_somebody_named_and_nobody_named_another_more_often(words: list[str], overlap: int) -> None:
    state, name, votes = state_of(*words, overlap=overlap)
    named = [word for word in words if word not in ("skip", "flag")]
    assert (state is SampleState.LABELLED) == (len(named) >= overlap)
    if name is not None:
        assert votes == named.count(name) == max(named.count(other) for other in named)
