"""The committee that a project's settings ask for, fitted on a round's labelled embeddings.

What a worker's score job and a simulation do alike where `committee` is not dropout.
"""

from typing import Any

from al_service.domain.project_config import ProjectConfig
from al_service.errors import InvalidInputError
from al_service.learning.committee import Committee, fit_committee
from al_service.learning.laplace import fit_laplace
from al_service.learning.probe import fit_probe


def committee_of(
    config: ProjectConfig, embeddings: Any, class_indices: Any, class_count: int, *, seed: int
) -> Committee:
    """`mc_passes` heads around the probe of these labels, or of bootstrap samples of them.

    After finetune this is a probe on the embeddings of the tuned network, not its own head: that one is no optimum that
    a posterior could be drawn around.

    Args:
        config: `committee` "laplace" or "bootstrap"; `mc_passes`; `probe_l2`, 0 for one chosen by cross-validation.
        embeddings: (L, D).
        class_indices: (L,) int64.
        class_count: C.
        seed: of the choice of l2 and of the members; equal seeds give equal heads.

    Raises:
        InvalidInputError: `committee` is "dropout", which is no committee of heads.
        InvalidProbeDataError: as fit_probe.
    """
    if config.committee not in ("laplace", "bootstrap"):
        raise InvalidInputError(f"committee is {config.committee!r}; expected laplace or bootstrap")
    probe = fit_probe(embeddings, class_indices, class_count, l2=config.probe_l2 or None, seed=seed)
    if config.committee == "laplace":
        return fit_laplace(probe, embeddings).sample(config.mc_passes, seed=seed)
    return fit_committee(
        embeddings, class_indices, class_count, members=config.mc_passes, l2=probe.l2, start=probe, seed=seed
    )
