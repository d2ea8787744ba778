"""From records of the truth to the answers' models. Pure: no transaction, no request."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from al_service.api.answers import (
    AnnotationFields,
    AssignmentFields,
    SampleDetailFields,
    SampleFields,
    WhyEmptyFields,
)
from al_service.api.loop_answers import (
    ClassFields,
    FailedJobFields,
    JobFields,
    LoopProgressFields,
    ProgressFields,
    ProjectDetailFields,
    ProjectFields,
    RejectedFields,
    RoundDetailFields,
    RoundFields,
    RoundMarkFields,
    SelectionFields,
    StageDetailFields,
    StageFields,
    StopFields,
    SummaryAnswer,
    WorkerFields,
)
from al_service.domain.progress import Progress, progress_of_job
from al_service.domain.reasons import reason_text
from al_service.domain.records import (
    Annotation,
    Assignment,
    Job,
    PoolCounts,
    Project,
    RejectedRow,
    Round,
    RoundStage,
    Sample,
    Selection,
)
from al_service.domain.states import AnnotationKind, JobKind, Stage
from al_service.loop.progress import RATE_WINDOW, Summary, WhyEmpty

SHOWN_SIZE_PX = 1024
#: Metrics that grow with the number of classes or are long tables; only answers about one round have them.
CLASS_METRICS = ("per_class", "confusion", "calibration")
TIMED_STAGES = (Stage.TRAIN, Stage.SCORE, Stage.SELECT, Stage.ANNOTATE)


def image_url(sample_id: int, sha256: str) -> str:
    """Where the page finds the image; the same for good, so browsers keep it."""
    return f"/api/v1/samples/{sample_id}/image?size={SHOWN_SIZE_PX}&v={sha256[:12]}"


def assignment_fields(assignment: Assignment, class_names: Sequence[str]) -> AssignmentFields:
    """A lease; class_names as the round that chose had them."""
    selection, sample = assignment.selection, assignment.sample
    return AssignmentFields(
        id=assignment.id,
        sample_id=sample.id,
        image_url=image_url(sample.id, sample.sha256),
        width=sample.width,
        height=sample.height,
        lease_expires_at=assignment.lease_expires_at,
        reason=reason_text(selection.reason, class_names),
        reason_code=_reason_code(selection),
        round=selection.reason.get("round") if selection.round_number is None else selection.round_number,
        look_alike=selection.reason.get("look_alike", selection.look_alike),
        copy_group=selection.copy_group,
    )


def why_empty_fields(why: WhyEmpty) -> WhyEmptyFields:
    """Why there is no work."""
    return WhyEmptyFields(code=why.code, text=why.text, counts=why.counts, retry_after_s=why.retry_after_s)


def annotation_values(annotation: Annotation, completed_by: str) -> dict[str, Any]:
    """The values of AnnotationFields."""
    return {
        "id": annotation.id,
        "sample_id": annotation.sample_id,
        "kind": annotation.kind,
        "class_name": annotation.class_name,
        "was_cancelled": annotation.kind is AnnotationKind.SKIP,
        "completed_by": completed_by,
        "lead_time": annotation.lead_time_s,
        "client_key": annotation.client_key,
        "created_at": annotation.created_at,
        "is_extra_vote": annotation.is_extra_vote,
        "model_version": annotation.model_version,
        "undone": annotation.is_undone,
    }


def annotation_fields(annotation: Annotation, completed_by: str) -> AnnotationFields:
    """One row of the log of answers."""
    return AnnotationFields(**annotation_values(annotation, completed_by))


def round_facts(record: Round) -> dict[str, Any]:
    """The values of RoundFacts, with all metrics."""
    seconds = {stage.value: record.stage_record(stage).seconds for stage in TIMED_STAGES}
    return {
        "number": record.number,
        "state": record.state,
        "stage": record.stage,
        "trigger": record.trigger,
        "labels": record.label_count,
        "seed": record.seed,
        "data_fingerprint": record.data_fingerprint,
        "model_hash": record.model_hash,
        "selected": record.selected_count,
        "answered": record.answered_count,
        "answered_ahead": record.answered_ahead,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "error": record.error,
        "seconds": seconds,
        "metrics": record.metrics,
    }


def round_fields(record: Round, progress: Progress | None) -> RoundFields:
    """A round at a glance; progress: of its current stage."""
    values = round_facts(record)
    values["metrics"] = {name: value for name, value in record.metrics.items() if name not in CLASS_METRICS}
    return RoundFields(
        **values, stages=[StageFields(**_stage_values(record, stage, progress)) for stage in record.stages]
    )


def round_detail(
    record: Round, progress: Progress | None, selections: Iterable[Selection], reserve: Iterable[Selection]
) -> RoundDetailFields:
    """A round as a full record; progress as in round_fields, selections and reserve: parts of its batch and reserve."""
    return RoundDetailFields(
        **round_facts(record),
        stages=[
            StageDetailFields(**_stage_values(record, stage, progress), result=stage.result) for stage in record.stages
        ],
        config=record.config.to_json(),
        selections=[selection_fields(item, record.class_names) for item in selections],
        reserve=[selection_fields(item, record.class_names) for item in reserve],
    )


def _stage_values(record: Round, stage: RoundStage, progress: Progress | None) -> dict[str, Any]:
    is_current = stage.stage is record.stage
    return {
        "stage": stage.stage,
        "state": stage.state,
        "attempt": stage.attempt,
        "job_id": stage.job_id,
        "seconds": stage.seconds,
        "error": stage.error or None,
        "progress": progress_fields(progress) if progress is not None and is_current else None,
    }


def selection_fields(selection: Selection, class_names: Sequence[str]) -> SelectionFields:
    """One chosen sample and why."""
    return SelectionFields(
        sample_id=selection.sample_id,
        rank=selection.rank,
        score=selection.score,
        reason=reason_text(selection.reason, class_names),
        reason_code=_reason_code(selection),
        state=selection.state,
    )


def _reason_code(selection: Selection) -> str:
    return str(selection.reason.get("code", ""))


def progress_fields(progress: Progress) -> ProgressFields:
    """How far a job or a stage is."""
    return ProgressFields(**asdict(progress))


def job_values(job: Job, rejected: Sequence[RejectedRow] = ()) -> dict[str, Any]:
    """The values of JobFields."""
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "attempt": job.attempt,
        "progress": progress_fields(progress_of_job(job)),
        "error": job.error or None,
        "result": job.result,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "rejected": [RejectedFields(external_id=row.external_id, reason=row.reason) for row in rejected],
    }


def job_fields(job: Job, rejected: Sequence[RejectedRow] = ()) -> JobFields:
    """A job."""
    return JobFields(**job_values(job, rejected))


def project_values(project: Project, counts: PoolCounts, last: Round | None) -> dict[str, Any]:
    """The values of ProjectFields."""
    mark = RoundMarkFields(number=last.number, state=last.state, stage=last.stage) if last is not None else None
    return {
        "name": project.name,
        "classes": list(project.class_names),
        "created_at": project.created_at,
        "counts": asdict(counts),
        "round": mark,
    }


def project_fields(project: Project, counts: PoolCounts, last: Round | None) -> ProjectFields:
    """A project in a list; last: its newest round."""
    return ProjectFields(**project_values(project, counts, last))


def project_detail(project: Project, counts: PoolCounts, last: Round | None) -> ProjectDetailFields:
    """A project with its settings."""
    return ProjectDetailFields(**project_values(project, counts, last), settings=project.config.to_json())


def summary_answer(
    summary: Summary, workers: list[dict[str, Any]] | None, *, sees_imports: bool = True
) -> SummaryAnswer:
    """A project at a glance; workers: None when the broker does not answer; sees_imports: what went wrong with imports,
    which names folders and files.
    """
    failed = [
        job if sees_imports or job.kind is not JobKind.INGEST else _without_names(job) for job in summary.failed_jobs
    ]
    project, current = summary.project, summary.current_round
    progress = summary.stage_progress
    return SummaryAnswer(
        project=project.name,
        classes=[
            ClassFields(name=info.name, position=info.position, labelled=summary.class_counts.get(info.name, 0))
            for info in project.classes
        ],
        counts=asdict(summary.counts),
        progress=LoopProgressFields(
            answered=summary.asking_round.answered_count if summary.asking_round else 0,
            asked=summary.asking_round.selected_count if summary.asking_round else 0,
            answered_ahead=summary.asking_round.answered_ahead if summary.asking_round else 0,
            round=summary.asking_round.number if summary.asking_round else None,
            reserve=summary.reserve_count,
            new_labels=summary.new_labels,
            labels_to_trigger=project.config.labels_to_trigger,
        ),
        round=round_fields(current, progress) if current else None,
        last_round=round_fields(summary.last_round, progress) if summary.last_round else None,
        labels_per_minute=summary.labels_last_5_min / (RATE_WINDOW.total_seconds() / 60),
        holders=summary.holders,
        jobs=[job_fields(job) for job in summary.active_jobs],
        failures=[FailedJobFields(**job_values(job), retry_command=f"al job retry {job.id}") for job in failed],
        workers=None if workers is None else [WorkerFields(**worker) for worker in workers],
        guidelines=project.config.guidelines,
        examples=summary.example_count,
        stop=None if summary.stop is None else StopFields(**asdict(summary.stop)),
    )


def _without_names(job: Job) -> Job:
    """A failed import for people who may not know what its files are called."""
    return replace(job, error="The import failed. An engineer sees why.", result={})


def sample_values(sample: Sample) -> dict[str, Any]:
    """The values of SampleFields: nothing that gives the label away."""
    return {
        "id": sample.id,
        "width": sample.width,
        "height": sample.height,
        "format": sample.format,
        "byte_count": sample.byte_count,
        "sha256": sample.sha256,
        "created_at": sample.created_at,
        "image_url": image_url(sample.id, sample.sha256),
    }


def sample_fields(sample: Sample) -> SampleFields:
    """What anybody may know of a sample."""
    return SampleFields(**sample_values(sample))


def sample_detail(sample: Sample, project: Project) -> SampleDetailFields:
    """What reviewers may know of a sample."""
    return SampleDetailFields(
        **sample_values(sample),
        project=project.name,
        external_id=sample.external_id,
        split=sample.split,
        state=sample.state,
        class_name=sample.class_name,
        label_version=sample.label_version,
        metadata=sample.metadata,
    )
