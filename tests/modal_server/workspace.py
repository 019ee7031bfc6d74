"""Client, environment, workspace, prices and billing."""

import json
import time

from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import WORKSPACE, ours, rpc


class Workspace:
    @rpc
    async def ClientHello(self, stream):
        await stream.recv_message()
        await stream.send_message(pb.ClientHelloResponse(image_builder_version="2025.06"))

    @rpc
    async def AuthTokenGet(self, stream):
        await stream.recv_message()
        import base64

        def enc(d):
            return base64.urlsafe_b64encode(json.dumps(d).encode()).rstrip(b"=").decode()

        await stream.send_message(
            pb.AuthTokenGetResponse(
                token=f"{enc({'alg': 'none'})}.{enc({'exp': time.time() + 1200, 'iat': time.time()})}.x"
            )
        )

    @rpc
    async def EnvironmentGetOrCreate(self, stream):
        req = await stream.recv_message()
        await stream.send_message(
            pb.EnvironmentGetOrCreateResponse(
                environment_id="en-emu",
                metadata=pb.EnvironmentMetadata(
                    name=req.deployment_name or "main", settings=pb.EnvironmentSettings(image_builder_version="2025.06")
                ),
            )
        )

    @rpc
    async def WorkspaceNameLookup(self, stream):
        await stream.recv_message()
        name = WORKSPACE.get() or "emu"
        await stream.send_message(pb.WorkspaceNameLookupResponse(workspace_name=name, username=name))

    # key names and values as printed by `modal billing rates --json` in public snapshots of 2026-08-15 .. 2026-10-04
    RATES = {
        "gpu_hour_cost_t4": "0.59",
        "gpu_hour_cost_l4": "0.80",
        "gpu_hour_cost_a10g": "1.10",
        "gpu_hour_cost_l40s": "1.95",
        "gpu_hour_cost_a100_40gb": "2.10",
        "gpu_hour_cost_a100_80gb": "2.50",
        "gpu_hour_cost_rtx6000": "3.03",
        "gpu_hour_cost_h100": "3.95",
        "gpu_hour_cost_h200": "4.54",
        "gpu_hour_cost_b200": "6.25",
        "gpu_hour_cost_b300": "7.10",
        "cpu_hour_cost": "0.0473",
        "mem_gib_hour_cost": "0.008",
        "volume_storage_gib_month_cost": "0.09",
    }
    GPU_KEYS = {
        "A10": "a10g",
        "A100": "a100_40gb",
        "A100-40GB": "a100_40gb",
        "A100-80GB": "a100_80gb",
        "RTX-PRO-6000": "rtx6000",
    }

    @rpc
    async def WorkspaceBillingRates(self, stream):
        await stream.recv_message()
        await stream.send_message(pb.WorkspaceBillingRatesResponse(rates=self.RATES, formatted="emulated rates"))

    @rpc
    async def WorkspaceBillingSummary(self, stream):
        await stream.recv_message()
        await stream.send_message(pb.WorkspaceBillingSummaryResponse(metered_cost="14.5", billed_cost="12.25"))

    @rpc
    async def WorkspaceBillingReport(self, stream):
        """Bills each container second at the RATES above, in whole (closed) intervals only."""
        req = await stream.recv_message()
        step = 3600 if req.resolution == "h" else 86400
        lo = req.start_timestamp.ToSeconds() // step * step
        hi = int(
            (
                min(req.end_timestamp.ToSeconds(), time.time() - self.knobs.billing_lag)
                + (step if self.knobs.billing_lag < 0 else 0)
            )
            // step
            * step
        )
        for start in range(lo, hi, step):
            for app in [a for a in self.apps.values() if ours(a.id)]:
                cost: dict[str, float] = {}
                for t in (t for t in self.tasks.values() if t.app_id == app.id and t.started_at):
                    secs = max(0.0, min(t.finished_at or time.time(), start + step) - max(t.started_at, start))
                    gpu, _, n = (t.gpu or "").upper().partition(":")
                    base = gpu.rstrip("!+")
                    gpu_h = float(self.RATES.get("gpu_hour_cost_" + self.GPU_KEYS.get(base, base.lower()), 0)) * int(
                        n or 1
                    )
                    for k, per_h in (
                        (gpu, gpu_h),
                        ("CPU", float(self.RATES["cpu_hour_cost"])),
                        ("Memory", float(self.RATES["mem_gib_hour_cost"])),
                    ):
                        if k and secs:
                            cost[k] = cost.get(k, 0) + secs * per_h / 3600
                if cost:
                    it = pb.WorkspaceBillingReportItem(
                        object_id=app.id,
                        description=app.description,
                        environment_name=app.env,
                        cost=f"{sum(cost.values()):.8f}",
                        cost_by_resource={k: f"{v:.8f}" for k, v in cost.items()},
                        tags={k: v for k, v in app.tags.items() if k in req.tag_names or "*" in req.tag_names},
                    )
                    it.interval.FromSeconds(start)
                    await stream.send_message(it)
