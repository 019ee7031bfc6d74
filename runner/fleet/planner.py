"""What a launch would do now: the plan of a spec, with what is on its volume."""

import math
import time

from runner.errors import CredentialsError, Unreachable
from runner.fleet.core import Core
from runner.model.backend_name import BackendName
from runner.model.spec import RunSpec
from runner.nanochat import layout
from runner.planning import estimate
from runner.planning.plan import Plan, make_plan
from runner.volumes import holdings, run_records
from runner.volumes.checkpoint_verdicts import Checkpoint

LOOK_AGE_S = 30.0


class Planner:
    """Plans launches. What a look at a volume of Modal has shown is good for half a minute."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._looks: dict[tuple[object, ...], tuple[float, layout.Inventory, list[Checkpoint]]] = {}

    def location(self, spec: RunSpec, backend: str) -> str:
        """Where a run of this spec keeps its files: beside the run that it continues or has its tokenizer from."""
        if beside := spec.source or spec.tokenizer_from:
            return self._core.registry.get(beside).volume
        return self._core.places.volume_location(backend, spec.engine)

    def plan(self, spec: RunSpec, backend: str) -> Plan:
        """What a launch would do now. An unreachable or new volume counts as empty."""
        code = self._core.code.facts(spec.code.sha) if spec.code else None
        own = estimate.matching_past_run(self._core.registry.all(), spec, backend)
        whose = self._core.registry.get(spec.source).tag if spec.source else ""
        if backend == BackendName.MODAL and not self._core.places.reaches_modal:
            return make_plan(spec, layout.Inventory(), backend=backend, own=own, whose=whose, code=code)
        place = self._core.places.backend(backend)
        location = self.location(spec, backend)
        beside = spec.source or spec.tokenizer_from
        runs = (self._core.registry.get(beside).path,) if beside else ()
        key = (backend, location, beside, spec.source_step, spec.task == "eval")
        age, inventory, continued = self._looks.get(key, (-math.inf, layout.Inventory(), []))
        if backend == BackendName.LOCAL or time.monotonic() - age > LOOK_AGE_S:
            volume = place.volume(location)
            try:
                inventory = holdings.inventory(volume, spec.engine, runs=runs)
                continued = run_records.source_checkpoints(volume, spec) if spec.source else []
            except (Unreachable, CredentialsError):
                inventory, continued = layout.Inventory(), []
            self._looks[key] = (time.monotonic(), inventory, continued)
        prices = self._core.places.prices(place)
        return make_plan(
            spec,
            inventory,
            backend=backend,
            prices=prices,
            checkpoints=continued,
            own=own,
            whose=whose,
            code=code,
        )
