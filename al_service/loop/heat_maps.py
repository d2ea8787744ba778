"""What the model looks at in an image, for the person who asks: the same rules as for what it thinks (suggestions.py).

A heat map says which class the model sees, so who is shown one is told. Images that are kept blind show none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from al_service.domain.class_book import ClassBook
from al_service.domain.heat_maps import HeatMap, heat_maps_from_bytes
from al_service.domain.records import Assignment, Project, Selection, User
from al_service.domain.states import AssignmentState, Lane, Stage
from al_service.errors import ConflictError, NotFoundError, PermissionDeniedError
from al_service.loop.assignments import own_assignment
from al_service.loop.gold import asked_by
from al_service.loop.ports import Artifacts, Store, Transaction
from al_service.loop.suggestions import Suggestions, is_blind, likely_today

NONE_YET = "There is no heat map of this image: they are made with each batch that a model has chosen."
NOT_OF_THIS = "There is no heat map of this image: those of its round went to the images with the first ranks."
GONE = "The heat maps of this round are not stored any more."


class NoHeatMapError(NotFoundError):
    """There is no heat map of this image, or none of that class; the message says why."""

    code = "no_heat_map"


class NotOfThisError(NoHeatMapError):
    """The round has maps, but none of this image."""


class KeptBlindError(ConflictError):
    """This person is not told what the model thinks of this image, to see what people answer without."""

    code = "kept_blind"


class NotInHandError(PermissionDeniedError):
    """A labeler sees heat maps of images that they hold or have answered."""

    code = "not_in_hand"


@dataclass(frozen=True)
class ImageMaps:
    """The maps of one image.

    Attributes:
        maps: (class name, map), those of the likeliest class first; empty where the image is kept blind.
        round_id: whose model looked.
    """

    maps: tuple[tuple[str, HeatMap], ...]
    round_id: int | None
    is_blind: bool = False


class HeatMaps:
    """Show people what the model looks at, and keep in mind that they know."""

    def __init__(self, store: Store, artifacts: Artifacts, suggestions: Suggestions) -> None:
        self._store = store
        self._artifacts = artifacts
        self._suggestions = suggestions

    def ask(self, assignment_id: int, user: User) -> ImageMaps:
        """The maps of the image that this person holds or has answered; from now on they count as told.

        Raises:
            NotFoundError: no such assignment of this person.
            NoHeatMapError: there are none.
        """
        with self._store.read() as tx:
            assignment = own_assignment(tx, assignment_id, user)
            project = tx.projects.get(assignment.sample.project_id)
        blind = is_blind(project, assignment, user)
        is_gold = assignment.selection.lane is Lane.GOLD
        try:
            read = self._read_of_gold if is_gold else self._read
            found = read(project, assignment.selection)
        except NoHeatMapError:
            if blind:  # gold may have none, and must look like any other image that is kept blind
                return ImageMaps((), None, is_blind=True)
            raise
        if assignment.suggestion_seen_at is None:
            self._suggestions.ask(assignment_id, user)
        return ImageMaps((), found.round_id, is_blind=True) if blind else found

    def of_sample(self, sample_id: int, user: User, *, may_see_all: bool) -> ImageMaps:
        """The maps of an image: by the rules of `ask` for who holds or answered it, else for who may see all.

        Reviewers who have answered an image look at it as reviewers.

        Raises:
            NoHeatMapError: there are none.
            KeptBlindError: this person holds or answered the image, and it is kept blind for them.
            NotInHandError: they do neither, and may not see all.
        """
        with self._store.read() as tx:
            project_id = tx.samples.get(sample_id).project_id
            assignment = _in_hand(tx, project_id, sample_id, user)
            project = tx.projects.get(project_id)
            selection = tx.queue.find_standing_selection(sample_id)
        if assignment is not None and not (may_see_all and assignment.state is AssignmentState.ANSWERED):
            found = self.ask(assignment.id, user)
            if found.is_blind:
                raise KeptBlindError(
                    "This image is kept blind: some go without what the model thinks, to see how much it sways people.",
                    sample=sample_id,
                )
            return found
        if not may_see_all:
            raise NotInHandError(f"ask for sample {sample_id} first: heat maps are for the images in your hands")
        return self._read(project, selection)

    def _read_of_gold(self, project: Project, gold: Selection) -> ImageMaps:
        """The maps of the round that chose the image, where the images beside it have some; else no other reason than
        theirs.
        """
        beside = replace(gold, round_id=asked_by(gold))
        try:
            return self._read(project, beside)
        except NotOfThisError:
            with self._store.read() as tx:
                chosen = tx.queue.find_standing_selection(gold.sample_id)
            try:
                return replace(self._read(project, chosen), round_id=beside.round_id)
            except NoHeatMapError:
                pass  # its own reason would name another round
            raise

    def _read(self, project: Project, selection: Selection | None) -> ImageMaps:
        if selection is None or selection.round_id is None:
            raise NoHeatMapError(NONE_YET)
        with self._store.read() as tx:
            facts = tx.rounds.get(selection.round_id).stage_record(Stage.SELECT).result.get("heat_maps")
            book = tx.projects.class_book(project.id)
        if facts is None:
            raise NoHeatMapError(NONE_YET)
        if "artifact" not in facts:
            raise NoHeatMapError(facts["why_none"])
        try:
            stored = heat_maps_from_bytes(self._artifacts.get(facts["artifact"])).get(selection.sample_id, ())
        except NotFoundError as error:
            raise NoHeatMapError(GONE) from error
        maps = _maps_today(book, selection, stored)
        if not maps:
            raise NotOfThisError(NOT_OF_THIS) if selection.likely else NoHeatMapError(NONE_YET)
        return ImageMaps(maps, selection.round_id)


def _maps_today(book: ClassBook, selection: Selection, stored: Sequence[HeatMap]) -> tuple[tuple[str, HeatMap], ...]:
    """The maps by the classes of today, that of the likeliest first; those of classes that are one by now are laid over
    each other, and those of split ones are left out.
    """
    maps: dict[str, HeatMap] = {}
    for one in stored:
        known = book.today(one.class_id)
        if known is not None:
            today = replace(one, class_id=known.id)
            maps[known.name] = maps[known.name].over(today) if known.name in maps else today
    chances = dict(likely_today(book, selection.likely))
    return tuple(sorted(maps.items(), key=lambda entry: -chances.get(entry[0], 0.0)))


def _in_hand(tx: Transaction, project_id: int, sample_id: int, user: User) -> Assignment | None:
    """The lease that this person has on the sample, else the one that they answered last."""
    for held in tx.queue.open_assignments_of_user(project_id, user.id):
        if held.sample.id == sample_id:
            return held
    answers = [one for one in tx.annotations.active_of_sample(sample_id) if one.user_id == user.id]
    ids = [one.assignment_id for one in answers if one.assignment_id is not None]
    return tx.queue.get_assignment(max(ids)) if ids else None
