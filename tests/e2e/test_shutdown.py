"""Ends of life, and beginnings: a polite end drains, an impolite one leaves work that the next life adopts."""

import signal
import time

from harness import lab_config, lab_world, percent_decoded_view, wait_until

VIEWS = ("north", "east", "south", "west")


def world_text(fixed):
    return lab_world({name: f"service = {{ fixed = {fixed}, sigma = 0.1 }}" for name in VIEWS})


def config(world, target_lag):
    return lab_config(world.url, {name: f'target_lag = "{target_lag}"' for name in VIEWS}, extra="max_in_flight = 8")


def running_views(world):
    return sorted({s["view"].removeprefix("public.") for s in world.history().running()})


def test_ready_is_not_said_before_the_warehouse_may_be_used(lab, daemon):
    world = lab(world_text(fixed=0.3))
    running = daemon(config(world, "5s"))
    wait_until("ready is said", running.ready, 20, every=0.002, alive=running.check_alive)
    assert world.history().calls["ListStatements"] >= 3, "ready was said before the scan was over"
    assert all(running.ready() for _ in range(50)), "ready, and then not"


def test_sigterm_drains_what_runs_and_says_not_ready_meanwhile(lab, daemon):
    world = lab(world_text(fixed=5))
    running = daemon(config(world, "15s")).wait_ready()
    wait_until("all four run", lambda: len(running_views(world)) == 4, 20, alive=running.check_alive)

    running.sigterm()
    wait_until("/readyz says 503", lambda: running.get("/readyz")[0] == 503, 5, alive=running.check_alive)
    begun = len(world.history().statements)
    assert running.get("/healthz")[0] == 200, "a draining daemon is alive"
    assert len(running_views(world)) >= 1, "it was draining something"
    assert running.wait(40) == 0

    history = world.history()
    assert len(history.statements) == begun, "nothing is begun while it drains"
    assert [s["status"] for s in history.statements] == ["FINISHED"] * begun
    assert history.overlaps() == []


def test_a_second_signal_ends_it_at_once_and_the_next_life_adopts(lab, daemon):
    world = lab(world_text(fixed=12))
    first = daemon(config(world, "40s")).wait_ready()
    wait_until("all four run", lambda: len(running_views(world)) == 4, 20, alive=first.check_alive)

    first.sigterm()
    wait_until("/readyz says 503", lambda: first.get("/readyz")[0] == 503, 5, alive=first.check_alive)
    first.sigterm()
    begun = time.monotonic()
    assert first.wait(5) == 1, "cut short is not drained"
    assert time.monotonic() - begun < 5
    assert len(running_views(world)) == 4, "they are left running, not cancelled"

    second = daemon(config(world, "40s")).wait_ready()
    for view in VIEWS:
        wait_until(
            f"{view} is adopted", lambda view=view: second.lines_with("adopt", view), 10, alive=second.check_alive
        )
    wait_until(
        "each has finished", lambda: all(world.history().finished(v) for v in VIEWS), 40, alive=second.check_alive
    )
    history = world.history()
    assert history.overlaps() == []
    assert history.calls["CancelStatement"] == 0
    second.sigterm()
    assert second.wait(40) == 0


def test_sigint_is_as_good_as_sigterm(lab, daemon):
    world = lab(world_text(fixed=1))
    running = daemon(config(world, "10s")).wait_ready()
    running.signal(signal.SIGINT)
    assert running.wait(30) == 0


def test_killed_ten_times_it_never_runs_two_on_one_view_and_adopts_what_ran(lab, daemon):
    world = lab(world_text(fixed=4))
    orphans, adopted = set(), 0
    for life in range(10):
        running = daemon(config(world, "9s"))
        wait_until(
            "the scan is over", lambda: running.lines_with("warehouse is ready"), 20, alive=running.check_alive
        )
        # They ran before this life began and still run after its scan, so it must have adopted them.
        outlived = [s for s in world.history().running() if s["id"] in orphans]
        for statement in outlived:
            view = percent_decoded_view(statement["name"])
            wait_until(
                f"life {life} adopts {view}",
                lambda view=view: running.lines_with("adopt", view),
                10,
                alive=running.check_alive,
            )
            adopted += 1
        wait_until("something runs", lambda: running_views(world), 20, alive=running.check_alive)
        # A different moment in the life of the statements each time.
        time.sleep(0.3 * (life % 4))
        running.kill()
        orphans = {s["id"] for s in world.history().running()}

    last = daemon(config(world, "9s")).wait_ready()
    done = {view: len(world.history().finished(view)) for view in VIEWS}
    wait_until(
        "every view is refreshed again",
        lambda: all(len(world.history().finished(v)) > done[v] for v in VIEWS),
        60,
        alive=last.check_alive,
    )
    history = world.history()
    assert history.overlaps() == []
    assert history.calls["CancelStatement"] == 0
    assert adopted >= 5, f"only {adopted} statements outlived their daemon: the test has lost its point"
