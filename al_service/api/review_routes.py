"""What reviewers do beyond looking: verdicts on samples, asking for samples by hand, and gold."""

from al_service.api.requests import GoldQuery, TaskBody, TasksQuery, VerdictBody, VerdictsBody
from al_service.api.review_answers import (
    GoldAnswer,
    GoldFields,
    JudgedFields,
    ManyAnswer,
    ManyFields,
    RefusalFields,
    TaskFields,
    TasksAnswer,
    VerdictAnswer,
)
from al_service.api.routing import Call, Reply, Routes
from al_service.api.shapes import annotation_fields, image_url
from al_service.domain.records import Sample
from al_service.domain.states import Role
from al_service.errors import AlServiceError
from al_service.loop.reviews import Given, Verdict
from al_service.loop.tasks import Task, Wish

ROUTES = Routes()


@ROUTES.add(
    "PUT",
    "/samples/<int:sample_id>/label",
    role=Role.REVIEWER,
    body=VerdictBody,
    answers={200: VerdictAnswer, 201: VerdictAnswer},
)
def judge(call: Call, sample_id: int, body: VerdictBody) -> Reply:
    """Give a verdict: this is its class, whatever the votes say; 201, the same client_key again: 200.

    409 `label_changed` where the label is not the version that the caller saw: the details say what it is and who
    answered last. Taken back by DELETE /annotations/{id}.
    """
    given = call.services.reviews.label(_verdict(sample_id, body), call.user, evaluation=call.covers(Role.ENGINEER))
    return Reply(_verdict_answer(call, given), 201 if given.is_new else 200)


@ROUTES.add("POST", "/projects/<project>/labels", role=Role.REVIEWER, body=VerdictsBody, answers={200: ManyAnswer})
def judge_many(call: Call, project: str, body: VerdictsBody) -> Reply:
    """Up to 200 verdicts in one transaction; one that is refused does not keep the others from being stored."""
    verdicts = [_verdict(item.sample_id, item) for item in body.labels]
    found = call.services.reviews.label_many(project, verdicts, call.user, evaluation=call.covers(Role.ENGINEER))
    results = [_one_of_many(call, verdict, result) for verdict, result in zip(verdicts, found, strict=True)]
    return Reply(ManyAnswer(results=results))


@ROUTES.add(
    "PUT",
    "/samples/<int:sample_id>/gold",
    role=Role.REVIEWER,
    body=VerdictBody,
    answers={200: VerdictAnswer, 201: VerdictAnswer},
)
def set_gold(call: Call, sample_id: int, body: VerdictBody) -> Reply:
    """Give a verdict that is certain enough to measure people by it: from now on the sample is hidden in the stream."""
    verdict = _verdict(sample_id, body)
    given = call.services.reviews.set_gold(verdict, call.user, evaluation=call.covers(Role.ENGINEER))
    return Reply(_verdict_answer(call, given), 201 if given.is_new else 200)


@ROUTES.add("DELETE", "/samples/<int:sample_id>/gold", role=Role.REVIEWER, answers={204: None})
def remove_gold(call: Call, sample_id: int) -> Reply:
    """Measure nobody by this sample any more; its label stays."""
    call.services.reviews.remove_gold(sample_id, call.user, evaluation=call.covers(Role.ENGINEER))
    return Reply(None, 204)


@ROUTES.add("GET", "/projects/<project>/gold", role=Role.REVIEWER, query=GoldQuery, answers={200: GoldAnswer})
def list_gold(call: Call, project: str, query: GoldQuery) -> Reply:
    """Samples whose class is known for sure, by sample id."""
    found, names, after = call.services.reviews.golds(
        project, after=query.after, limit=query.limit, evaluation=call.covers(Role.ENGINEER)
    )
    fields = [
        GoldFields(
            sample_id=gold.sample.id,
            image_url=image_url(gold.sample.id, gold.sample.sha256),
            class_name=gold.class_name,
            set_by=names[gold.user_id],
            set_at=gold.created_at,
        )
        for gold in found
    ]
    return Reply(GoldAnswer(gold=fields, next_after=after))


@ROUTES.add("POST", "/projects/<project>/tasks", role=Role.REVIEWER, body=TaskBody, answers={201: TasksAnswer})
def ask_by_hand(call: Call, project: str, body: TaskBody) -> Reply:
    """Ask for samples by hand: sooner, by so many people, or by one person, also about what is labelled already.

    What waits in the queue is moved there; asking for the same again changes nothing.
    """
    wish = Wish(tuple(body.sample_ids), body.user, body.answers, body.priority)
    made = call.services.tasks.ask(project, wish, call.user, evaluation=call.covers(Role.ENGINEER))
    return Reply(TasksAnswer(tasks=[_task_fields(task) for task in made], next_after=None), 201)


@ROUTES.add("GET", "/projects/<project>/tasks", role=Role.REVIEWER, query=TasksQuery, answers={200: TasksAnswer})
def list_tasks(call: Call, project: str, query: TasksQuery) -> Reply:
    """What was asked for by hand and still waits, by id."""
    found, after = call.services.tasks.waiting(
        project, after=query.after, limit=query.limit, evaluation=call.covers(Role.ENGINEER)
    )
    return Reply(TasksAnswer(tasks=[_task_fields(task) for task in found], next_after=after))


@ROUTES.add("DELETE", "/tasks/<int:task_id>", role=Role.REVIEWER, answers={204: None})
def withdraw_task(call: Call, task_id: int) -> Reply:
    """Ask for it no longer: it leaves the queue, or is again as any other of its round's batch."""
    call.services.tasks.withdraw(task_id, call.user)
    return Reply(None, 204)


def _verdict(sample_id: int, body: VerdictBody) -> Verdict:
    return Verdict(sample_id, body.class_name, body.version, body.client_key)


def _verdict_answer(call: Call, given: Given) -> VerdictAnswer:
    annotation = annotation_fields(given.annotation, call.user.name)
    return VerdictAnswer(annotation=annotation, sample=_judged(given.sample))


def _judged(sample: Sample) -> JudgedFields:
    return JudgedFields(
        sample_id=sample.id,
        state=sample.state,
        class_name=sample.class_name,
        label_version=sample.label_version or 0,
    )


def _one_of_many(call: Call, verdict: Verdict, result: Given | AlServiceError) -> ManyFields:
    if isinstance(result, Given):
        answer = _verdict_answer(call, result)
        return ManyFields(sample_id=verdict.sample_id, annotation=answer.annotation, sample=answer.sample, error=None)
    error = RefusalFields(code=result.code, message=str(result), details=result.details)
    return ManyFields(sample_id=verdict.sample_id, annotation=None, sample=None, error=error)


def _task_fields(task: Task) -> TaskFields:
    return TaskFields(
        id=task.selection.id,
        sample_id=task.sample.id,
        image_url=image_url(task.sample.id, task.sample.sha256),
        user=task.user_name,
        priority=task.priority,
        answers=task.selection.overlap,
        state=task.selection.state,
    )
