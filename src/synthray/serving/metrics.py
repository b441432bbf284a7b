"""A replica's metrics, built afresh at each scrape; no label grows with what is asked."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synthray.serving.service import Service


class RequestCounts:
    """Answers below /v1 by status code; `watch` is ASGI middleware."""

    def __init__(self) -> None:
        self.by_code: Counter[int] = Counter()

    def watch(self, app: ASGIApp) -> ASGIApp:
        """The same application, counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            async def count(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self.by_code[message["status"]] += 1
                await send(message)

            is_work = scope["type"] == "http" and scope["path"].startswith("/v1/")
            await app(scope, receive, count if is_work else send)

        return counted


class ServiceCollector(Collector):
    """Shows where a replica stands to whoever scrapes."""

    def __init__(self, service: Service, counts: RequestCounts) -> None:
        self._service = service
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """All families."""
        figures = self._service.figures()
        requests = CounterMetricFamily(
            "synthray_generate_requests", "Answers below /v1, by HTTP status.", labels=["code"]
        )
        for code, count in sorted(self._counts.by_code.items()):
            requests.add_metric([str(code)], count)
        yield requests
        yield CounterMetricFamily("synthray_generate_images", "Images drawn.", figures.images)
        yield GaugeMetricFamily(
            "synthray_generate_queue_images",
            "Images of requests that wait for a slot.",
            figures.waiting_images - figures.waiting_images_of_jobs,
        )
        yield GaugeMetricFamily(
            "synthray_generate_queue_job_images",
            "Images that wait for a slot, of the jobs that are being drawn here.",
            figures.waiting_images_of_jobs,
        )
        yield SummaryMetricFamily(
            "synthray_generate_queue_wait_seconds",
            "Time from a request's acceptance to its first slot.",
            count_value=figures.waits,
            sum_value=figures.wait_seconds,
        )
        yield SummaryMetricFamily(
            "synthray_generate_step_seconds",
            "Duration of one denoising step of all slots.",
            count_value=figures.steps,
            sum_value=figures.step_seconds,
        )
        yield GaugeMetricFamily(
            "synthray_generate_slots_busy_ratio",
            "Slots with an image over all slots.",
            figures.busy_slots / figures.num_slots,
        )
        yield GaugeMetricFamily(
            "synthray_generate_selftest_ok",
            "1 while the golden seeds give the pixels that they gave at the start.",
            0.0 if self._service.failure else 1.0,
        )
