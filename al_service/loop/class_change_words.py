"""What a change of classes does, in sentences: the same on the page and at the command line, before and after it."""

from collections.abc import Mapping, Sequence

from al_service.domain.states import Split
from al_service.loop.class_change_kinds import AddClasses, Change, MergeClass, RenameClass, SplitClass
from al_service.loop.class_previews import Preview

NAMES_SHOWN = 5


def words_of(preview: Preview) -> list[str]:
    """One sentence for each thing that people should know, most important first."""
    change = preview.change
    return [*_what(change, preview), *([] if isinstance(change, AddClasses) else _who(change, preview))]


def _what(change: Change, preview: Preview) -> list[str]:
    match change:
        case AddClasses(names):
            return [f"Adds {_listed(names)}, on the next free keys. Nobody's keys change."]
        case RenameClass(old, new):
            return [
                f"“{old}” is called “{new}” from then on. Key, colour and {_labelled(preview.labels)} stay.",
                f"“{old}” goes on to mean it: answers on their way and imports with the old name count.",
            ]
        case MergeClass(name, into):
            stay = f", beside {_labelled(preview.into_labels)} of before" if preview.into_labels else ""
            return [
                f"{_labelled(preview.labels)} of “{name}” {_are(_total(preview.labels))} “{into}” from then on{stay}.",
                f"“{name}” goes on to mean “{into}”. Its key stays empty.",
                *_if(preview.gold, "{} of gold stay gold, of “" + into + "”."),
                *_if(preview.recounted, "{} with votes for both: votes are counted anew."),
                "This cannot be taken back.",
            ]
        case SplitClass(name, parts):
            return [
                _asked_again(preview, name),
                f"{_listed(parts)} get new keys. That of “{name}” stays empty, so that a habit gives no wrong label.",
                *_if(
                    preview.recounted, "{} with other votes as well: these stand, and people are asked where some lack."
                ),
                *(
                    [f"{_count(preview.votes, 'vote')} for “{name}” count no more; they stay in the log."]
                    if preview.votes
                    else []
                ),
                *_if(preview.gold, "{} of gold are gold no more."),
                "This cannot be taken back.",
            ]


def _asked_again(preview: Preview, name: str) -> str:
    count = preview.asked_again
    if not count:
        return f"No image is labelled “{name}” alone, so none loses its label at once."
    verbs = "loses its label and is" if count == 1 else "lose their label and are"
    return f"{_images(count)} of “{name}” {verbs} asked again, before the batch."


def _who(change: Change, preview: Preview) -> list[str]:
    found = []
    if preview.running_round is not None and not isinstance(change, RenameClass):
        found.append(
            f"Round {preview.running_round} goes on with the classes it began with; the next one has the new ones."
        )
    if preview.models and not isinstance(change, RenameClass):
        own = ", the project's own among them" if preview.is_promoted else ""
        found.append(f"{_count(preview.models, 'model')} of before tell it apart{own}.")
    if preview.holders:
        people = sorted(preview.holders)
        has = "has" if len(people) == 1 else "have"
        late = (
            f" Answers on their way that still say “{change.class_name}” are set aside, and the image is shown again."
            if isinstance(change, SplitClass)
            else ""
        )
        found.append(f"{_names(people)} {has} images in hand; the page there changes with the next image.{late}")
    return found


def _labelled(labels: Mapping[Split, int]) -> str:
    total, kept = _total(labels), labels.get(Split.EVALUATION, 0)
    aside = f" ({kept} of them kept aside to measure the model)" if kept else ""
    return f"{_count(total, 'labelled image')}{aside}"


def _total(labels: Mapping[Split, int]) -> int:
    return sum(labels.values())


def _if(count: int, sentence: str) -> list[str]:
    return [sentence.format(_images(count))] if count else []


def _images(count: int) -> str:
    return _count(count, "image")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return _names([f"“{name}”" for name in names])


def _names(words: Sequence[str]) -> str:
    if len(words) > NAMES_SHOWN:
        return f"{', '.join(words[:NAMES_SHOWN])} and {len(words) - NAMES_SHOWN} more"
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
