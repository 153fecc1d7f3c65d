"""What refreshes did, as the warehouse's own records tell it, and what the daemon makes of it."""

import json
import re

import pytest

from harness import lab_config, wait_until

DONE = "Refresh successfully updated MV incrementally"
CASCADE = "because materialized view s.n was not refreshed."
# The documented texts, and what each is counted as: a failure with its class.
TEXTS = {
    DONE: "data",
    f"{DONE}. Stream returned no new data": "no_data",
    f"{DONE}. Some stream records were skipped": "some_skipped",
    f"{DONE}. All records received from the stream were skipped": "all_skipped",
    f"{DONE}. The stream may contain more data": "more_data",
    f"{DONE}. Some stream records were skipped. The stream may contain more data": "more_data",
    f"{DONE}, but MV depends on an MV that is not up to date.": "data",
    "MV was already updated": "no_data",
    "MV was already updated, but depends on an MV that is not up to date.": "no_data",
    "Refresh successfully recomputed MV from scratch": "recomputed",
    "Refresh partially updated MV incrementally up to an active transaction": "more_data",
    "Auto refresh aborted due to excessive user workload": "failed/transient",
    "Refresh failed due to an internal error": "failed/transient",
    "Refresh failed. Serializable isolation violation": "failed/transient",
    f"Cascade refresh skipped {CASCADE}": "failed/transient",
    f"Cascade refresh failed {CASCADE}": "failed/transient",
    f"Cascade automatic refresh skipped {CASCADE}": "failed/transient",
    f"Cascade automatic refresh failed {CASCADE}": "failed/transient",
    "Refresh failed. MV was not found": "failed/permanent",
    "Refresh failed. Schema of MV was renamed": "failed/permanent",
    "Refresh failed. A base table was renamed": "failed/permanent",
    "Refresh failed. A base table column was renamed": "failed/permanent",
    "Refresh failed. A base table column was dropped": "failed/permanent",
    "Refresh failed. A base table column type was changed": "failed/permanent",
    # Numbers that releases show instead of a text.
    "-10": "failed/unknown",
    "-11": "failed/permanent",
    "-12": "failed/permanent",
    "-13": "failed/permanent",
    "-14": "failed/permanent",
    "-15": "failed/permanent",
    "-16": "failed/permanent",
    "-17": "failed/unknown",
    "-18": "failed/permanent",
    "-19": "failed/permanent",
    # What nobody has documented.
    "-42": "failed/unknown",
    "Refresh went sideways": "data",
}
STRANGE = {"-42", "Refresh went sideways"}


def world(views, *, head=""):
    text = f"""
[[warehouses]]
name = "lab"
kind = "cluster"
databases = ["dev"]
slots = 50
{head}

[[streams]]
name = "events"

[[producers]]
stream = "events"
pattern = "steady"
rate = 5
"""
    for name, keys in views.items():
        text += f'\n[[views]]\nname = "{name}"\ndatabase = "dev"\nwarehouse = "lab"\nstream = "events"\n{keys}\n'
    return text


def config(url, views, extra="max_in_flight = 50"):
    return lab_config(url, views, extra=extra).replace("workgroup =", "cluster =")


def outcomes(metrics, view):
    counted = metrics.all("tidekeeper_refreshes_total", view=view)
    name = lambda labels: "/".join(filter(None, (labels["outcome"], labels["class"])))
    return {name(labels): value for labels, value in counted if value}


def test_every_status_text_is_counted_as_what_it_says(lab, daemon):
    views = {f"v{number}": text for number, text in enumerate(TEXTS)}
    faults = {
        name: f'service = {{ fixed = 0.2 }}\nfaults = [{{ kind = "status", first = 1, text = "{text}" }}]'
        for name, text in views.items()
    }
    here = lab(world(faults))
    running = daemon(config(here.url, {name: 'target_lag = "1h"' for name in views})).wait_ready()

    def told():
        metrics = running.metrics()
        return all(outcomes(metrics, name).get(TEXTS[text]) for name, text in views.items())

    wait_until("every text is counted", told, 20, alive=running.check_alive)
    metrics = running.metrics()
    for name, text in views.items():
        counted = outcomes(metrics, name)
        if TEXTS[text] == "more_data" or TEXTS[text].startswith("failed"):
            counted.pop("data", None)  # it went again at once, or soon
        assert counted == {TEXTS[text]: 1}, text
    assert {line["status"] for line in running.complaints("no rule knows")} == STRANGE
    failed = {line["view"]: line for line in running.complaints("refresh failed")}
    for name, text in views.items():
        if TEXTS[text].startswith("failed"):
            assert text in failed[name]["error"], failed[name]
            assert failed[name]["class"] == TEXTS[text].split("/")[1], failed[name]
    (anew,) = running.complaints("from scratch")
    assert views[anew["view"]] == "Refresh successfully recomputed MV from scratch"
    orphans = {line["view"] for line in running.complaints("name it in `after`")}
    assert orphans == {name for name, text in views.items() if "depends on" in text}
    explained = lambda: {name for name, view in running.views().items() if "name it in `after`" in view["explain"]}
    # What the API shows follows the log in steps.
    wait_until("the API explains it", lambda: explained() == orphans, 20, alive=running.check_alive)
    shown = running.views()
    empty = next(name for name, text in views.items() if TEXTS[text] == "all_skipped")
    assert shown[empty]["alert"]["reason"] == "all_skipped"
    assert metrics.sum("tidekeeper_view_alert", view=empty, reason="all_skipped") == 1
    more = [name for name, text in views.items() if TEXTS[text] == "more_data"]
    wait_until(
        "what was left is fetched at once",
        lambda: all(len(here.history().finished(name)) > 1 for name in more),
        20,
        alive=running.check_alive,
    )


HISTORY, STATES, ERRORS = "sys_mv_refresh_history", "sys_stream_scan_states", "sys_stream_scan_errors"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"hidden": [f"{STATES}.lag_from_latest"]}, [f"{STATES}.lag_from_latest"]),
        ({"hidden": [f"{STATES}.max_latency_s"]}, [f"{STATES}.max_latency_s"]),
        (
            {"hidden": [f"{STATES}.lag_from_latest", f"{STATES}.max_latency_s"]},
            [f"{STATES}.lag_from_latest", f"{STATES}.max_latency_s"],
        ),
        ({"hidden": [f"{HISTORY}.mv_id"]}, [f"{HISTORY}.mv_id"]),
        ({"hidden": [f"{HISTORY}.user_id"]}, [f"{HISTORY}.user_id"]),
        ({"hidden": [ERRORS]}, [ERRORS]),
        ({"hidden": [STATES]}, [STATES]),
        ({"hidden": [STATES, ERRORS]}, [STATES, ERRORS]),
        ({"hidden": [ERRORS, f"{HISTORY}.mv_id"]}, [ERRORS, f"{HISTORY}.mv_id"]),
        ({"hidden": [HISTORY]}, [HISTORY]),
        ({"hidden": [HISTORY, "svl_mv_refresh_status.userid"]}, [HISTORY, f"{HISTORY}.user_id"]),
        ({"hidden": [HISTORY, STATES, ERRORS]}, [HISTORY, STATES, ERRORS]),
        ({"denied": [HISTORY]}, [HISTORY]),
        ({"denied": [STATES]}, [STATES]),
        ({"denied": [ERRORS]}, [ERRORS]),
        ({"denied": [STATES, ERRORS], "hidden": [f"{HISTORY}.mv_id"]}, [STATES, ERRORS, f"{HISTORY}.mv_id"]),
    ],
    ids=lambda given: json.dumps(given) if isinstance(given, dict) else "",
)
def test_a_release_without_a_column_or_a_view_tells_what_it_can(lab, daemon, keys, told):
    head = "\n".join(f"{key} = {names}" for key, names in keys.items())
    quiet = f'faults = [{{ kind = "status", first = 1, text = "{DONE}. Stream returned no new data" }}]'
    here = lab(world({"v": quiet}, head=head))
    running = daemon(config(here.url, {"v": 'target_lag = "1h"'})).wait_ready()
    verdict = lambda: outcomes(running.metrics(), "v") == {"no_data": 1}
    wait_until("the verdict is read without it", verdict, 20, alive=running.check_alive)
    (missing,) = [line["missing"] for line in running.log() if "missing" in line]
    assert sorted(missing.split(", ")) == sorted(told)
    assert not running.complaints(), running.complaints()


@pytest.mark.parametrize("hidden", [[], [STATES]], ids=["states and errors", "errors alone"])
def test_what_was_skipped_is_told_so_that_a_person_finds_it(lab, daemon, hidden):
    here = lab(world({"v": "service = { fixed = 0.1 }"}, head=f"max_record = 100\nhidden = {hidden}"))
    running = daemon(config(here.url, {"v": 'target_lag = "3s"'})).wait_ready()
    skipped = lambda: running.complaints("every record that the stream gave was skipped")
    wait_until("records are skipped", skipped, 20, alive=running.check_alive)
    line = skipped()[0]
    found = r"Record of \d+ bytes exceeds the maximum size \(code 9, shard shardId-\d{12}, position \d+, \d+ records?\)"
    assert re.fullmatch(found, line["reason"]), line
    assert line["records"] >= 1
    assert running.views()["v"]["records_skipped"] >= 1
    assert line["reason"] in running.view_text("v"), "the alert says it, too"


def test_without_any_records_refreshes_go_on_and_the_reason_is_said_once(lab, daemon):
    here = lab(world({"v": ""}, head='hidden = ["sys_mv_refresh_history", "svl_mv_refresh_status"]'))
    running = daemon(config(here.url, {"v": 'target_lag = "3s"'})).wait_ready()
    wait_until("it is refreshed", lambda: len(here.history().finished("v")) >= 3, 20, alive=running.check_alive)
    (said,) = running.complaints("cannot be read")
    assert "svl_mv_refresh_status" in said["error"]
    assert set(outcomes(running.metrics(), "v")) == {"data"}


def test_a_daemon_that_starts_anew_knows_what_its_views_hold(lab, daemon):
    here = lab(world({"v": "service = { fixed = 0.2 }"}))
    text = config(here.url, {"v": 'target_lag = "1h"'})
    running = daemon(text).wait_ready()
    held = lambda: running.views()["v"]["data_timestamp"]
    wait_until("its first refresh", held, 20, alive=running.check_alive)
    before = held()
    running.sigterm()
    assert running.wait(20) == 0
    again = daemon(text).wait_ready()
    wait_until("it is known", lambda: again.views()["v"]["data_timestamp"], 20, alive=again.check_alive)
    # The server's start of the refresh, not the daemon's submit.
    assert before[:16] == again.views()["v"]["data_timestamp"][:16]
    assert len(here.history().of("v")) == 1, "fresh enough: nothing was refreshed for nothing"


def test_records_that_show_late_are_not_taken_for_somebody_else_s(lab, daemon):
    here = lab(world({"v": "service = { fixed = 0.1 }"}, head="history_delay = 5\nmax_record = 100"))
    running = daemon(config(here.url, {"v": 'target_lag = "4s"'})).wait_ready()
    told = lambda: running.views()["v"]["records_skipped"]
    wait_until("what a late record says is heard", told, 30, alive=running.check_alive)
    shown = running.views()["v"]
    assert shown["refreshes"] >= 2
    assert shown["foreign_refreshes"] == 0, shown


def test_refreshes_of_somebody_else_count_and_spare_the_daemon_its_own(lab, daemon):
    here = lab(world({"v": "service = { fixed = 0.1 }"}))
    running = daemon(config(here.url, {"v": 'target_lag = "8s"'})).wait_ready()
    wait_until("its first refresh", lambda: here.history().finished("v"), 20, alive=running.check_alive)
    refresh = "REFRESH MATERIALIZED VIEW v"
    answer = here.client().execute_statement(ClusterIdentifier="lab", Database="dev", Sql=refresh, WaitTimeSeconds=20)
    assert answer["Status"] == "FINISHED"
    seen = lambda: running.metrics().sum("tidekeeper_foreign_refreshes_total", view="v", by="statement")
    wait_until("it is counted", lambda: seen() == 1, 20, alive=running.check_alive)
    assert running.views()["v"]["foreign_refreshes"] == 1
