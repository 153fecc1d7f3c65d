"""`tidekeeper demo --for 120s`, judged by the lab's own history rather than by its summary."""

import json

import pytest

from harness import History, Process, qualified

FOR_S = 120
# The daemon knows a refresh's submit and finish through answers that travel; a cycle within this
# of its deadline may be counted either way.
TOLERANCE_S = 0.25


@pytest.fixture(scope="module")
def demo(binary, tmp_path_factory):
    """Its summary and the lab's history, after two minutes."""
    truth = tmp_path_factory.mktemp("demo") / "history.json"
    run = Process([binary, "demo", "--for", f"{FOR_S}s", "--json", "--history", truth])
    try:
        code = run.wait(FOR_S + 60)
    finally:
        run.stop()
    assert code == 0, run.output()
    return json.loads("\n".join(run.stdout)), History(json.loads(truth.read_text()))


@pytest.fixture(scope="module")
def views(demo):
    """Per view: what the summary says and what the history proves."""
    summary, history = demo
    end = max(s["finished_s"] for s in history.statements if "finished_s" in s)
    facts = {}
    for said in summary["views"]:
        view, target_lag = said["view"], said["target_lag_s"]
        peaks = history.cycles(view, target_lag, min(end, summary["duration_s"]))
        facts[view] = {
            "said": said,
            "target_lag": target_lag,
            "duration": history.duration(view),
            "refreshes": len(history.finished(view)),
            "peaks": peaks,
            "missed": sum(peak > target_lag for peak in peaks),
            # The smallest target that can be held back to back is twice the duration.
            "infeasible": target_lag < 2 * history.duration(view),
        }
    return facts


def test_the_summary_names_every_view_that_ran(demo, views):
    summary, history = demo
    assert abs(summary["duration_s"] - FOR_S) <= 5
    assert sorted(qualified(view) for view in views) == history.views()
    assert len(views) >= 6


def test_never_two_statements_at_once_on_one_view(demo):
    summary, history = demo
    assert history.overlaps() == []
    assert summary["overlaps"] == 0


def test_one_view_is_infeasible_and_it_is_said(views):
    truth = {view for view, facts in views.items() if facts["infeasible"]}
    assert len(truth) == 1
    assert {view for view, facts in views.items() if facts["said"]["infeasible"]} == truth


def test_feasible_views_keep_their_target(views):
    feasible = {view: facts for view, facts in views.items() if not facts["infeasible"]}
    cycles = sum(len(facts["peaks"]) for facts in feasible.values())
    missed = {view: facts["missed"] for view, facts in feasible.items()}
    assert sum(missed.values()) <= 0.05 * cycles, (missed, cycles)
    for view, facts in feasible.items():
        assert facts["missed"] <= max(1, 0.1 * len(facts["peaks"])), (view, sorted(facts["peaks"])[-3:])


def test_every_view_goes_through_five_cycles(views):
    assert {view: len(f["peaks"]) for view, f in views.items() if len(f["peaks"]) < 5} == {}


def test_a_refresh_costs_about_one_call(demo, views):
    _, history = demo
    refreshes = sum(facts["refreshes"] for facts in views.values())
    assert sum(history.calls.values()) <= 1.1 * refreshes, (history.calls, refreshes)


def test_no_view_is_refreshed_in_a_loop(demo, views):
    summary, _ = demo
    for view, facts in views.items():
        if facts["infeasible"]:
            continue
        latest_start = facts["target_lag"] - facts["duration"]
        allowed = 1.3 * summary["duration_s"] / latest_start + 3
        assert facts["refreshes"] <= allowed, (view, facts["refreshes"], allowed)


def test_the_summary_agrees_with_the_history(views):
    for view, facts in views.items():
        said, peaks = facts["said"], sorted(facts["peaks"])
        assert abs(said["refreshes"] - facts["refreshes"]) <= 1, view
        assert abs(said["cycles"] - len(peaks)) <= 1, view
        # Cycles on the edge of the deadline, and the one at the end, may be counted either way.
        edge = sum(abs(peak - facts["target_lag"]) <= TOLERANCE_S for peak in peaks) + 1
        assert abs(said["cycles_in_target"] - (len(peaks) - facts["missed"])) <= edge, view
        assert peaks[0] - TOLERANCE_S <= said["peak_lag_p50_s"] <= peaks[-1] + TOLERANCE_S, view
        assert said["peak_lag_p50_s"] <= said["peak_lag_p99_s"] <= peaks[-1] + TOLERANCE_S, view
        assert said["api_calls"] >= facts["refreshes"] - 1, view
