"""Several hosts: one program on all of them, started before anything touches a device.

Every host runs the same command. Those of one job find each other by what SLURM, Kubernetes, Open MPI or a
TPU pod tells them, or by ``--coordinator``, ``--hosts`` and ``--host``. The first host alone writes the log,
the model and the checksums; what it finds in the file system it tells the others, so that all go one way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from jaxsep.errors import UserError

#: What says how many processes a launcher started -> what else JAX needs of it to find the others.
_LAUNCHERS = {"SLURM_STEP_NUM_TASKS": "SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE": "OMPI_MCA_orte_hnp_uri"}


def start(coordinator: str = "", hosts: int = 0, host: int = -1) -> None:
    """Join the job's other hosts, if there are any.

    Args:
      coordinator: ``NAME:PORT`` of the first host; as the launcher says when empty.
      hosts: number of hosts; as the launcher says when 0.
      host: number of this one, from 0; as the launcher says when negative.

    Raises:
      UserError: the options do not fit together, or the hosts did not find each other.
    """
    given = bool(coordinator), hosts > 0, host >= 0
    if any(given) and not all(given):
        raise UserError(
            "--coordinator, --hosts and --host: give all three, or none where a launcher says them"
        )
    if all(given) and not host < hosts:
        raise UserError(f"--host {host}: expected 0 to {hosts - 1} of --hosts {hosts}")
    if not any(given) and not _launched():
        return
    found = (coordinator, hosts, host) if all(given) else ()
    try:
        jax.distributed.initialize(*found)
    except (RuntimeError, ValueError) as error:
        where = coordinator or "the address that the launcher gave"
        raise UserError(
            f"the hosts did not find each other at {where} ({' '.join(str(error).split())[:200]}); "
            "start the same command on each of them, and let them reach that port"
        ) from error


def _launched():
    """Whether a launcher started several processes, which JAX finds by what it left in the environment."""
    environment = os.environ
    for count, needed in _LAUNCHERS.items():
        if environment.get(count, "").isdigit() and int(environment[count]) > 1 and needed in environment:
            return True
    if len(environment.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1:
        return True
    # A Kubernetes job with an index for each of its pods; JAX asks the cluster by the package kubernetes.
    pods = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment
    return bool(environment.get("JAX_COORDINATOR_ADDRESS")) or (pods and find_spec("kubernetes") is not None)


def several() -> bool:
    """Whether there are other hosts."""
    return jax.process_count() > 1


def first() -> bool:
    """Whether this is the host that writes."""
    return jax.process_index() == 0


def told(find: Callable[[], Any]) -> Any:
    """What ``find`` returns on the first host, or the error of the user or system there, on every host.

    Args:
      find: returns what JSON holds; not called elsewhere.
    """
    if not several():
        return find()
    answer: dict[str, Any] = {}
    if first():
        try:
            answer = {"value": find()}
        except (UserError, OSError) as error:
            answer = {"error": str(error), "option": getattr(error, "option", "")}
    answer = _broadcast(answer)
    if "error" in answer:
        raise UserError(answer["error"], answer["option"])
    return answer["value"]


def held(manager: AbstractContextManager, stack) -> None:
    """Enter ``manager`` on the first host until ``stack`` ends; a refusal there is one on every host."""
    told(lambda: stack.enter_context(manager) and None)


def gathered(values: np.ndarray) -> np.ndarray:
    """The rows of all hosts, in their order; as many on each."""
    if not several():
        return values
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(values, tiled=True))


def same(value: str, what: str) -> None:
    """Refuse, on every host, to go on where they do not have the same of something."""
    others = gathered(np.array([told(lambda: value) != value]))
    if others.any():
        where = ", ".join(map(str, np.flatnonzero(others)))
        raise UserError(f"{what} on host {where} are not those of the first host; copy them there")


def _broadcast(value):
    from jax.experimental import multihost_utils

    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    room = np.zeros(length, np.uint8)
    if first():
        room[:] = data
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(room)).tobytes())
