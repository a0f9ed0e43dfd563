//! A server that is none of ours must not get a route to `nats/cluster.conf`: over a route it would read and write everything, past all users.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use waybill_testkit::http::Http;
use waybill_testkit::nats::free_ports;
use waybill_testkit::{NatsOptions, NatsServer, eventually};

/// Meeting and refusing each other takes a second or two on two busy cores.
const MEET: Duration = Duration::from_secs(40);
const PASSWORD: &str = "0123456789abcdef";

/// The certificates of a deployment, made as an operator makes them.
fn authority(folder: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/new-ca");
    let tls = folder.join("tls");
    let made = Command::new(script).arg(&tls).args(["node"]).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{made:?}");
    tls
}

/// The shipped file's own words about routes, with the folder, the address and the other servers of a test.
fn cluster_block(tls: &Path, password: &str, port: u16, routes: &[u16]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nats/cluster.conf");
    let text = std::fs::read_to_string(file).unwrap();
    let block = &text[text.find("\ncluster {").unwrap()..];
    let block = &block[..block.find("\n}").unwrap() + 2];
    let urls: Vec<String> = routes
        .iter()
        .map(|port| format!("\"nats://route:{password}@127.0.0.1:{port}\""))
        .collect();
    for named in [
        "authorization",
        "verify: true",
        "$NATS_ROUTE_PASSWORD",
        "$NATS_ROUTES",
    ] {
        assert!(block.contains(named), "{named} is not in {block}");
    }
    block
        .replace("/tls/", &format!("{}/", tls.display()))
        .replace("0.0.0.0:6222", &format!("127.0.0.1:{port}"))
        .replace("$NATS_ROUTE_PASSWORD", &format!("\"{password}\""))
        .replace("$NATS_ROUTES", &format!("[{}]", urls.join(", ")))
}

/// A server, and its monitoring port.
async fn server(name: &str, block: &str, monitoring: u16) -> (NatsServer, Http) {
    let extra = format!("server_name: {name}\nhttp: \"127.0.0.1:{monitoring}\"\n{block}\n");
    let options = NatsOptions {
        extra,
        ..NatsOptions::default()
    };
    let server = NatsServer::start_with(options).await.unwrap();
    (
        server,
        Http::new(&format!("http://127.0.0.1:{monitoring}"), None),
    )
}

async fn routes(monitoring: &Http) -> u64 {
    let answer = monitoring.get("/routez").await;
    answer
        .ok()
        .and_then(|answer| answer.json()["num_routes"].as_u64())
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_server_gets_no_route() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority(folder.path());
    let theirs = authority(&folder.path().join("elsewhere"));
    let [route_1, route_2, route_3, http_1, http_2, http_3] = free_ports().unwrap();
    let members = [route_1, route_2];
    let (first, first_http) = server(
        "n1",
        &cluster_block(&ours, PASSWORD, route_1, &members),
        http_1,
    )
    .await;
    let (_second, second_http) = server(
        "n2",
        &cluster_block(&ours, PASSWORD, route_2, &members),
        http_2,
    )
    .await;
    eventually(MEET, async || {
        routes(&first_http).await > 0 && routes(&second_http).await > 0
    })
    .await
    .expect("the two servers of the deployment meet");

    let plain = |password: &str| {
        let url = format!("nats://route:{password}@127.0.0.1:{route_1}");
        format!("cluster {{ name: waybill, listen: \"127.0.0.1:{route_3}\", routes: [\"{url}\"] }}")
    };
    let rogues = [
        ("without TLS, with the password", plain(PASSWORD)),
        (
            "with a certificate of its own authority",
            cluster_block(&theirs, PASSWORD, route_3, &[route_1]),
        ),
        (
            "with our certificate and a wrong password",
            cluster_block(&ours, "guessed", route_3, &[route_1]),
        ),
    ];
    for (who, block) in rogues {
        let before = first.log().len();
        let (rogue, rogue_http) = server("rogue", &block, http_3).await;
        // It has tried, and the server of the deployment, or its own check of our certificate, has refused it.
        eventually(MEET, async || {
            let (ours, its) = (first.log(), rogue.log());
            let told = [&ours[before..], its.as_str()].concat();
            [
                "handshake error",
                "uthentication error",
                "Authorization Violation",
                "rror trying to connect",
            ]
            .iter()
            .any(|refusal| told.contains(refusal))
        })
        .await
        .unwrap_or_else(|late| panic!("{who}: {late}: {} {}", first.log(), rogue.log()));
        assert_eq!(routes(&rogue_http).await, 0, "{who}");
    }

    // The control: with both it is one of us.
    let (_third, third_http) = server(
        "n3",
        &cluster_block(&ours, PASSWORD, route_3, &members),
        http_3,
    )
    .await;
    eventually(MEET, async || routes(&third_http).await > 0)
        .await
        .expect("a server with certificate and password gets its routes");
}
