"""Who changed what: the audit log, for admins. The use cases in loop write it."""

from al_service.api.answers import AuditAnswer, AuditFields
from al_service.api.requests import AuditQuery
from al_service.api.routing import Call, Reply, Routes
from al_service.domain.states import Role

ROUTES = Routes()


@ROUTES.add("GET", "/audit", role=Role.ADMIN, query=AuditQuery, answers={200: AuditAnswer})
def list_audit(call: Call, query: AuditQuery) -> Reply:
    """The newest entries of the audit log: who did what to what; user is null for what nobody signed in did."""
    with call.services.store.read() as tx:
        entries = tx.accounts.audit(query.limit)
    return Reply(AuditAnswer(entries=[AuditFields(**entry) for entry in entries]))
