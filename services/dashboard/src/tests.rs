mod bundle;
mod compact;

use std::fs;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use http::{Request, StatusCode};
use tower::ServiceExt;

use crate::router;

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: String,
}

async fn get(router: &Router, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header("accept", accept);
    let request = request.body(Body::empty()).expect("a request");
    let response = router.clone().oneshot(request).await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), 1 << 20)
        .await
        .expect("a body");
    let body = String::from_utf8_lossy(&body).into_owned();
    Answer {
        status,
        headers,
        body,
    }
}

#[tokio::test]
async fn browsers_are_sent_to_the_pages_and_others_get_links() {
    let router = router(None);
    let browser = get(&router, "/", "text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!(browser.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.headers[LOCATION], "/ui/");
    let curl = get(&router, "/", "*/*").await;
    assert_eq!(curl.status, StatusCode::OK);
    assert!(
        curl.body.contains("\"openapi\":\"/openapi.json\""),
        "{}",
        curl.body
    );
}

#[tokio::test]
async fn the_sink_fails_as_many_attempts_as_it_is_told_to() {
    let router = crate::sink();
    for (path, attempt, status) in [
        ("/sink", None, StatusCode::OK),
        ("/sink?fail=2", None, StatusCode::SERVICE_UNAVAILABLE),
        ("/sink?fail=2", Some("2"), StatusCode::SERVICE_UNAVAILABLE),
        ("/sink?fail=2", Some("3"), StatusCode::OK),
        ("/sink?fail=many", None, StatusCode::BAD_REQUEST),
        ("/sink?fial=2", None, StatusCode::BAD_REQUEST),
    ] {
        let mut request = Request::post(path);
        if let Some(attempt) = attempt {
            request = request.header("waybill-attempt", attempt);
        }
        let request = request.body(Body::from("{}")).expect("a request");
        let response = router.clone().oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), status, "{path} {attempt:?}");
    }
}

#[tokio::test]
async fn every_page_is_the_same_document_and_names_files_that_never_change() {
    let router = router(None);
    let page = get(&router, "/ui/", "text/html").await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.headers[CONTENT_SECURITY_POLICY]
        .to_str()
        .expect("text");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    let deep = get(&router, "/ui/tasks/task_1?x=y", "text/html").await;
    assert_eq!(deep.body, page.body);
    let names = page
        .body
        .split('"')
        .filter(|text| text.starts_with("/ui/assets/"));
    let names: Vec<_> = names.collect();
    assert!(names.len() > 1, "{}", page.body);
    for name in names {
        let file = get(&router, name, "*/*").await;
        assert_eq!(file.status, StatusCode::OK, "{name}");
        assert_eq!(
            file.headers[CACHE_CONTROL],
            "public, max-age=31536000, immutable"
        );
        assert_ne!(file.headers[CONTENT_TYPE], "text/html; charset=utf-8");
    }
}

#[tokio::test]
async fn what_is_no_file_of_this_version_is_not_found() {
    let router = router(None);
    for path in [
        "/ui/assets/0000000000000000/main.js",
        "/ui/assets/main.js",
        "/ui/assets/0000000000000000/",
    ] {
        let answer = get(&router, path, "*/*").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_folder_is_read_at_each_request_and_nothing_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = folder.path().join("static");
    fs::create_dir(&files).expect("a folder");
    fs::write(folder.path().join("secret.js"), "secret").expect("written");
    fs::write(files.join("index.html"), "see {{assets}}/a.js").expect("written");
    fs::write(files.join("a.js"), "1").expect("written");
    let router = router(Some(folder.path().to_owned()));
    let page = get(&router, "/ui/", "text/html").await;
    assert_eq!(page.body, "see /ui/assets/working/a.js");
    assert_eq!(
        get(&router, "/ui/assets/working/a.js", "*/*").await.body,
        "1"
    );
    fs::write(files.join("a.js"), "2").expect("written");
    let file = get(&router, "/ui/assets/working/a.js", "*/*").await;
    assert_eq!(file.body, "2");
    assert_eq!(file.headers[CACHE_CONTROL], "no-store");
    for path in [
        "..%2Fsecret.js",
        "%2e%2e/secret.js",
        "nothing.js",
        "index.html",
    ] {
        let answer = get(&router, &format!("/ui/assets/working/{path}"), "*/*").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}
