"""moto's Data API as a hostile endpoint.

It has no ListStatements (500 with a page of HTML), its statements never end, it ignores client tokens,
and its timestamps are text where the protocol has numbers, so that the AWS SDK refuses its answers.
The daemon has to say so, to back off, and to submit nothing twice.
"""

import collections
import time

from harness import lab_config, percent_decoded_view, wait_until
from recorder import Recorder

VIEWS = ["one", "two", "three"]
# Long enough for a hot loop to show.
WATCHED_S = 15


def config(url):
    return lab_config(url, {name: 'target_lag = "5s"' for name in VIEWS})


def complaint_of_the_answer(lines):
    """Whether somebody who reads these lines learns that the answer could not be understood."""
    words = ("could not be read", "deserial", "parse", "not understood")
    return [line for line in lines if any(word in str(line).lower() for word in words)]


def test_without_a_listing_nothing_is_submitted_and_the_reason_is_said(moto, daemon):
    with Recorder(moto) as recorder:
        running = daemon(config(recorder.url)).wait_alive()
        wait_until("a first scan", lambda: recorder.of("ListStatements"), 20, alive=running.check_alive)
        time.sleep(WATCHED_S)

        assert recorder.submits() == []
        assert 2 <= len(recorder.of("ListStatements")) <= 20, "retried, with backoff"
        assert running.get("/healthz")[0] == 200, "an endpoint's fault does not kill the daemon"
        assert running.get("/readyz")[0] == 503, "it has work to do and cannot do it"

        blocked = [line for line in running.complaints("lab") if "500" in str(line) or "list" in str(line).lower()]
        assert blocked, running.output()
        assert len(running.complaints()) <= 20, "complaints back off with the retries"
        metrics = running.metrics()
        for view in VIEWS:
            assert metrics.sum("tidekeeper_view_wait_reason", view=view, reason="warehouse_blocked") == 1
            assert "warehouse_blocked" in running.view_text(view)
        assert metrics.sum("tidekeeper_data_api_requests_total", operation="ListStatements") >= 2


def test_an_answer_that_cannot_be_read_is_reported_and_never_submitted_again(moto, daemon):
    with Recorder(moto, lists=True) as recorder:
        running = daemon(config(recorder.url)).wait_alive()
        wait_until(
            "every view is submitted", lambda: len(recorder.submits()) >= len(VIEWS), 20, alive=running.check_alive
        )
        time.sleep(WATCHED_S)

        by_view = collections.Counter(percent_decoded_view(c.request["StatementName"]) for c in recorder.submits())
        assert {view: count for view, count in by_view.items() if view in VIEWS} == {view: 1 for view in VIEWS}
        assert all(call.status == 200 for call in recorder.submits()), "moto executed them"
        tokens = [c.request["ClientToken"] for c in recorder.submits() if percent_decoded_view(c.request["StatementName"]) in VIEWS]
        assert len(set(tokens)) == len(VIEWS)
        assert len(recorder.calls) <= len(VIEWS) * 30, collections.Counter(c.operation for c in recorder.calls)

        said = complaint_of_the_answer(running.complaints())
        assert said, running.output()
        assert len(running.complaints()) <= len(VIEWS) * 20, "complaints back off with the retries"
        for view in VIEWS:
            assert complaint_of_the_answer([running.view_text(view)]), running.view_text(view)
        assert running.get("/healthz")[0] == 200
