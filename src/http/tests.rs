//! All routes, over snapshots of a real scheduler.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request};
use serde_json::Value;
use tidekeeper_scheduler::{Failure, FailureClass, Mode, Origin, ScheduleId, ViewId};
use tower::ServiceExt;

use super::*;
use crate::clock::Clock;
use crate::metrics::world::{World, view};

/// Everything the routes need, and the other ends of it.
pub(crate) struct House {
    pub(crate) shared: Shared,
    pub(crate) world: World,
    publish: watch::Sender<Arc<Snapshot>>,
    wishes: mpsc::Receiver<Event>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

impl House {
    pub(crate) fn new() -> Self {
        Self::of(World::open(vec![view("orders", 30), view("clicks", 30)]))
    }

    pub(crate) fn with_token(token: &str) -> Self {
        let mut house = Self::new();
        house.shared.admin_token = Some(Secret::new(token.to_owned()));
        house
    }

    fn of(world: World) -> Self {
        let (publish, snapshot) = watch::channel(world.snapshot());
        let (wish, wishes) = mpsc::channel(2);
        let now = world.now + Span::from_millis(1_500);
        let metrics = Metrics::new().unwrap();
        metrics.set_catalog(world.catalog());
        metrics.publish(&world.snapshot());
        let shared = Shared {
            snapshot,
            metrics: Arc::new(metrics),
            observer: Observer::new(Clock::anchored_to(world.now)).0,
            now: Arc::new(move || now),
            heartbeat: Arc::new(AtomicI64::new(world.now.as_micros())),
            config_loaded: Arc::new(AtomicBool::new(true)),
            wishes: wish,
            admin_token: None,
        };
        Self {
            shared,
            world,
            publish,
            wishes,
        }
    }

    fn publish(&self) {
        self.publish.send_replace(self.world.snapshot());
    }

    async fn ask(&self, method: Method, path: &str, bearer: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authorization) = bearer {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = router(self.shared.clone()).oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, bearer: Option<&str>) -> Answer {
        self.ask(Method::POST, path, bearer).await
    }

    async fn explained(&self, id: &str) -> String {
        let answer = self.get(&format!("/api/v1/views/{id}")).await;
        answer.json()["explain"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn metrics_are_text_of_the_prometheus_format() {
    let answer = House::new().get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4");
    assert!(answer.body.contains("# TYPE tidekeeper_view_state gauge\n"));
}

#[tokio::test]
async fn alive_is_a_heartbeat_younger_than_ten_seconds_whatever_aws_does() {
    let mut world = World::new(vec![view("orders", 30)]);
    world.scanned(Err(Failure::new(FailureClass::Unreachable, "no route")));
    let house = House::of(world);
    assert_eq!(house.get("/healthz").await.status, 200);
    let now = (house.shared.now)();
    let beat = |ago| {
        let at = now - Span::from_millis(ago);
        house
            .shared
            .heartbeat
            .store(at.as_micros(), Ordering::Relaxed);
    };
    beat(9_999);
    assert_eq!(house.get("/healthz").await.status, 200);
    beat(10_000);
    let answer = house.get("/healthz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, "the loop last came round 10 s ago\n");
}

#[tokio::test]
async fn ready_needs_a_configuration_and_an_open_warehouse() {
    let mut house = House::of(World::new(vec![view("orders", 30)]));
    house.shared.config_loaded = Arc::default();
    let answer = house.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json()["reasons"],
        serde_json::json!([
            "no configuration is loaded",
            "warehouse rt is being searched for statements of an earlier life"
        ])
    );
    house.shared.config_loaded.store(true, Ordering::Relaxed);
    let denied = Failure::new(FailureClass::Permanent, "not authorized to list");
    house.world.scanned(Err(denied));
    house.publish();
    let answer = house.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json()["reasons"][0],
        "warehouse rt is blocked: not authorized to list"
    );
    let answer = House::new().get("/readyz").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["ready"], true);
}

#[tokio::test]
async fn with_nothing_to_do_it_is_ready() {
    let house = House::of(World::new(Vec::new()));
    assert_eq!(house.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn while_draining_it_is_alive_and_not_ready_and_takes_no_wishes() {
    let mut house = House::with_token("t");
    house.world.run("orders");
    let until = house.world.now + Span::from_secs(25);
    house.world.tell(Event::Shutdown { until });
    house.publish();
    assert_eq!(house.get("/healthz").await.status, 200);
    let answer = house.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["reasons"][0], "the daemon is shutting down");
    assert_eq!(house.get("/api/v1/views").await.json()["draining"], true);
    let path = "/api/v1/views/orders/refresh";
    let answer = house.post(path, Some("Bearer t")).await;
    assert_eq!(answer.status, 503);
    assert!(house.wishes.try_recv().is_err());
    assert!(house.get("/").await.body.contains("is shutting down"));
}

#[tokio::test]
async fn the_list_tells_of_every_view_and_warehouse() {
    let mut house = House::new();
    house.world.refresh("orders", 3);
    house.world.run("clicks");
    house.publish();
    let answer = house.get("/api/v1/views").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    let report = answer.json();
    assert_eq!(report["at"], "2026-01-05T00:00:01.500Z");
    assert_eq!(report["warehouses"][0]["warehouse"], "rt");
    assert_eq!(report["warehouses"][0]["access"], "open");
    assert_eq!(report["warehouses"][0]["in_flight"], 1);
    let [clicks, orders] = report["views"].as_array().unwrap().as_slice() else {
        panic!("two views: {report}");
    };
    assert_eq!(clicks["view"], "clicks");
    assert_eq!(clicks["state"], "running");
    assert_eq!(clicks["wait"], Value::Null);
    assert_eq!(clicks["in_flight"]["statement"], "statement-clicks");
    assert_eq!(clicks["in_flight"]["origin"], "lag");
    assert_eq!(clicks["clock_lag_seconds"], Value::Null);
    assert_eq!(orders["state"], "waiting");
    assert_eq!(orders["wait"]["reason"], "not_due");
    assert!(orders["wait"]["until"].as_str().unwrap().ends_with('Z'));
    assert_eq!(orders["target_lag_seconds"], 30.0);
    assert_eq!(orders["last_refresh_seconds"], 3.0);
    assert_eq!(orders["data_timestamp"], "2026-01-05T00:00:00.000Z");
    assert_eq!(orders["in_flight"], Value::Null);
    assert_eq!(orders["last_failure"], Value::Null);
    assert_eq!(orders["refreshes"], 1);
    let cycles = serde_json::json!({"in_target": 0, "missed": 0});
    assert_eq!(orders["cycles"], cycles);
}

#[tokio::test]
async fn one_view_is_asked_for_by_its_encoded_id() {
    let odd = "sales/öst \"x\"";
    let house = House::of(World::open(vec![view(odd, 30)]));
    let answer = house.get("/api/v1/views/sales%2F%C3%B6st%20%22x%22").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["view"], odd);
    let answer = house.get("/api/v1/views/nobody").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"], "there is no view \"nobody\"");
}

#[tokio::test]
async fn head_answers_like_get_without_a_body_and_unknown_paths_are_json() {
    let house = House::new();
    for path in ["/", "/metrics", "/healthz", "/readyz", "/api/v1/views"] {
        let answer = house.ask(Method::HEAD, path, None).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
    }
    let answer = house.get("/admin").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"], "no such page");
    assert_eq!(house.post("/api/v1/views", None).await.status, 405);
}

#[tokio::test]
async fn without_a_token_every_wish_is_forbidden_and_the_answer_says_how_to_change_that() {
    let mut house = House::new();
    for wish in ["refresh", "pause", "resume"] {
        let path = format!("/api/v1/views/orders/{wish}");
        let answer = house.post(&path, Some("Bearer ")).await;
        assert_eq!(answer.status, 403, "{wish}");
        let mend = answer.json()["mend"].as_str().unwrap().to_owned();
        assert!(mend.contains("TIDEKEEPER_ADMIN_TOKEN"), "{mend}");
    }
    assert!(house.wishes.try_recv().is_err());
}

#[tokio::test]
async fn a_wrong_token_is_refused_before_the_view_is_looked_up() {
    let mut house = House::with_token("right");
    let wrong = [
        None,
        Some("right"),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer righ"),
        Some("Bearer right2"),
        Some("Basic right"),
    ];
    for bearer in wrong {
        for view in ["orders", "nobody"] {
            let path = format!("/api/v1/views/{view}/pause");
            let answer = house.post(&path, bearer).await;
            assert_eq!(answer.status, 401, "{bearer:?}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    assert!(house.wishes.try_recv().is_err());
    let empty = House::with_token("");
    let path = "/api/v1/views/orders/pause";
    assert_eq!(empty.post(path, Some("Bearer ")).await.status, 401);
}

#[tokio::test]
async fn accepted_wishes_reach_the_loop() {
    let mut house = House::with_token("right");
    let bearer = Some("Bearer right");
    let view = ViewId::from("orders");
    let wishes = [
        (
            "refresh",
            Event::Refresh {
                view: view.clone(),
                origin: Origin::Manual,
            },
        ),
        ("pause", Event::Pause { view: view.clone() }),
        ("resume", Event::Resume { view }),
    ];
    for (wish, event) in wishes {
        let path = format!("/api/v1/views/orders/{wish}");
        assert_eq!(house.post(&path, bearer).await.status, 202, "{wish}");
        assert_eq!(house.wishes.try_recv().unwrap(), event);
    }
    let answer = house.post("/api/v1/views/nobody/pause", bearer).await;
    assert_eq!(answer.status, 404);
    let path = "/api/v1/views/orders/pause";
    assert_eq!(house.ask(Method::GET, path, bearer).await.status, 405);
}

#[tokio::test]
async fn a_full_queue_is_said_and_not_waited_for() {
    let mut house = House::with_token("t");
    let path = "/api/v1/views/orders/refresh";
    let ask = || house.post(path, Some("Bearer t"));
    assert_eq!(ask().await.status, 202);
    assert_eq!(ask().await.status, 202);
    let answer = ask().await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json()["error"],
        "too many wishes are waiting; try again"
    );
    house.wishes.close();
    let answer = house.post(path, Some("Bearer t")).await;
    assert_eq!(answer.json()["error"], "the daemon has stopped");
}

#[tokio::test]
async fn nothing_from_outside_reaches_the_page_unescaped() {
    let hostile = "<script>alert('&\"')</script>";
    let mut world = World::open(vec![view(hostile, 30)]);
    world.fail(hostile, FailureClass::Permanent, "<img src=x onerror=y>");
    let answer = House::of(world).get("/").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!answer.body.contains("<script"), "{}", answer.body);
    assert!(!answer.body.contains("<img"), "{}", answer.body);
    let escaped = "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;";
    assert!(answer.body.contains(escaped), "{}", answer.body);
    let link = "href=\"/api/v1/views/%3Cscript%3E";
    assert!(answer.body.contains(link), "{}", answer.body);
}

#[tokio::test]
async fn the_page_fetches_nothing_and_suits_light_and_dark() {
    let page = House::new().get("/").await.body;
    assert!(page.contains("color-scheme:light dark"));
    for outside in ["http://", "https://", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[tokio::test]
async fn a_suspended_view_is_explained_with_its_failure_and_the_mend() {
    let mut house = House::of(World::open(vec![view("a", 30)]));
    for _ in 0..2 {
        house
            .world
            .fail("a", FailureClass::Permanent, "permission denied");
    }
    house.publish();
    let a = house.explained("a").await;
    assert!(
        a.starts_with("it is suspended because it kept failing, and is looked at again "),
        "{a}"
    );
    assert!(
        a.ends_with(
            "; it failed 2 times in a row, last with: permission denied \
             (to mend it: look at the view)"
        ),
        "{a}"
    );
}

#[tokio::test]
async fn waiting_running_and_closed_views_are_explained_in_words() {
    let mut closed = view("closed", 30);
    closed.schedule = Some(ScheduleId::from("office"));
    let mut house = House::of(World::open(vec![view("b", 30), view("c", 30), closed]));
    house.world.refresh("b", 3);
    house.world.run("c");
    house.publish();
    let b = house.explained("b").await;
    assert!(b.starts_with("its next refresh starts in "), "{b}");
    let c = house.explained("c").await;
    assert!(c.contains("because its lag called for it"), "{c}");
    let closed = house.explained("closed").await;
    assert!(
        closed.starts_with("its schedule is closed and opens in "),
        "{closed}"
    );
}

#[tokio::test]
async fn a_target_out_of_reach_is_explained_with_one_within_it() {
    let mut house = House::of(World::open(vec![view("tight", 2)]));
    for _ in 0..8 {
        house.world.refresh("tight", 5);
    }
    house.publish();
    let tight = house.explained("tight").await;
    assert!(
        tight.contains("its target lag of 2 s is out of reach"),
        "{tight}"
    );
    assert!(tight.contains("it could hold about "), "{tight}");
}

#[tokio::test]
async fn a_due_view_says_what_it_waits_for() {
    let views = ["a", "b", "c"].map(|id| view(id, 30)).to_vec();
    let mut house = House::of(World::new(views));
    let a = house.explained("a").await;
    assert!(
        a.starts_with("it is due, but warehouse rt is first searched"),
        "{a}"
    );
    let mut denied = Failure::new(FailureClass::Permanent, "not authorized");
    denied.mend = Some("allow redshift-data:ListStatements".into());
    house.world.scanned(Err(denied));
    house.publish();
    let a = house.explained("a").await;
    assert!(
        a.starts_with(
            "it is due, but warehouse rt cannot be used: not authorized \
             (to mend it: allow redshift-data:ListStatements); it is tried again in "
        ),
        "{a}"
    );
    let mut house = House::of(World::open(house.world.plan.views));
    house.world.pass(1);
    let c = house.explained("c").await;
    assert_eq!(c, "it is due, but all 2 slots of warehouse rt are taken");
}

#[tokio::test]
async fn what_keeping_a_workgroup_awake_costs_is_told_with_what_would_be_cheaper() {
    let mut tight = view("tight", 30);
    tight.probe_every = None;
    let mut world = World::open(vec![tight, view("hourly", 3_600)]);
    world.bill_while_awake();
    world.refresh("hourly", 3);
    for _ in 0..40 {
        world.refresh("tight", 3);
    }
    let house = House::of(world);
    let mut catalog = house.world.catalog();
    catalog.prices.insert("rt".into(), 3.0);
    house.shared.metrics.set_catalog(catalog);
    let answer = house.get("/api/v1/views").await.json();
    let awake = &answer["warehouses"][0]["awake"];
    assert_eq!(awake["wake_minimum_seconds"], 60.0);
    assert!(awake["share"].as_f64().unwrap() > 0.9, "{awake}");
    let estimate = &awake["estimate"];
    assert_eq!(estimate["awake_seconds_per_day"], 86_400.0);
    assert_eq!(estimate["price_per_day"], 72.0);
    assert_eq!(estimate["kept_awake_by"], serde_json::json!(["tight"]));
    assert_eq!(estimate["longer_target_lag"]["target_lag_seconds"], 120.0);
    let page = house.get("/").await.body;
    assert!(
        page.contains("keep it awake all day (72.00), because of tight"),
        "{page}"
    );
    let told = house.explained("tight").await;
    assert!(
        told.contains(
            "it keeps warehouse rt awake, all day (72.00): a target lag of 2 min would save"
        ),
        "{told}"
    );
    assert!(told.contains("an arrival probe up to"), "{told}");
    assert!(!house.explained("hourly").await.contains("awake"));
}

#[tokio::test]
async fn what_is_not_billed_while_awake_tells_nothing_of_it() {
    let answer = House::new().get("/api/v1/views").await.json();
    assert_eq!(answer["warehouses"][0]["awake"], Value::Null);
}

#[tokio::test]
async fn a_workgroup_that_others_may_keep_awake_does_not_pass_for_asleep() {
    let mut seen = view("seen", 30);
    seen.mode = Mode::Observe;
    let mut world = World::open(vec![seen]);
    world.bill_while_awake();
    let house = House::of(world);
    let answer = house.get("/api/v1/views").await.json();
    let said = answer["warehouses"][0]["awake"]["explain"].as_str();
    assert_eq!(said, Some("Tidekeeper lets it sleep"));
}
