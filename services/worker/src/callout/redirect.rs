//! What follows from a redirect: the next request according to RFC 9110 (15.4), and what it must
//! not carry.

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, LOCATION,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

/// Limit of redirects in one call; the answer after the last one is final.
pub(super) const MAX_REDIRECTS: usize = 3;

/// One request of a call.
#[derive(Clone)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The query as the client gave it, if `url` spells it differently.
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Hop {
    /// The URL as it is sent.
    pub(super) fn address(&self) -> String {
        match &self.query {
            None => self.url.as_str().to_owned(),
            Some(query) => {
                let mut before = self.url.clone();
                before.set_query(None);
                before.set_fragment(None);
                format!("{before}?{query}")
            }
        }
    }

    /// The request that an answer asks for; `None` if it is not a redirect, does not lead to an
    /// HTTP target, or leads from https to http.
    ///
    /// Browsers turn a POST into a GET on a 301 or 302. A task is not a form: its contents would be
    /// lost, and its end would claim that they had arrived. Only 303 asks for a GET, namely of a
    /// result that the target has derived from the request.
    pub(super) fn after(&self, status: StatusCode, answer: &HeaderMap) -> Option<Self> {
        let keeps_method = match status {
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => true,
            StatusCode::SEE_OTHER => self.method == Method::GET || self.method == Method::HEAD,
            _ => return None,
        };
        let location = answer.get(LOCATION)?.to_str().ok()?;
        let url = self.url.join(location).ok()?;
        let downgraded = self.url.scheme() == "https" && url.scheme() == "http";
        if downgraded || !matches!(url.scheme(), "http" | "https") {
            return None;
        }

        let mut next = Self {
            method: self.method.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            url,
            query: None,
        };
        if !keeps_method {
            next.become_get();
        }
        next.say_that_it_is_empty();
        if next.url.origin() != self.url.origin() {
            next.drop_secrets();
        }
        Some(next)
    }

    /// Adds `Content-Length: 0` to a POST, PUT or PATCH without a body: many servers answer 411
    /// otherwise (RFC 9110, 8.6).
    pub(super) fn say_that_it_is_empty(&mut self) {
        self.headers.remove(CONTENT_LENGTH);
        let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(&self.method);
        if has_body && self.body.is_empty() {
            self.headers
                .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }

    /// Removes the headers that describe or sign a body.
    fn become_get(&mut self) {
        self.method = Method::GET;
        self.body = Bytes::new();
        for name in [
            CONTENT_TYPE,
            CONTENT_ENCODING,
            CONTENT_LANGUAGE,
            CONTENT_LOCATION,
        ] {
            self.headers.remove(name);
        }
        self.keep_headers(|name| !signs(name));
    }

    /// Whether a header contains a credential of the vault or of the task.
    pub(super) fn has_secret_headers(&self) -> bool {
        self.headers.values().any(HeaderValue::is_sensitive)
    }

    /// Drops headers for a redirect to another origin. Any header of a task may contain a
    /// credential for its original host, so another one only gets headers that cannot, and none of
    /// these that is known to contain one. It does not get our signature either: its recipient
    /// could pass the message on, and a receiver that knows the secret would take it for ours.
    fn drop_secrets(&mut self) {
        self.keep(|name, value| {
            if value.is_sensitive() {
                return false;
            }
            let name_text = name.as_str();
            name_text.starts_with("content-")
                || name_text.starts_with("waybill-")
                || ["accept", "user-agent", "idempotency-key", "traceparent"].contains(&name_text)
        });
    }

    fn keep_headers(&mut self, keep: impl Fn(&HeaderName) -> bool) {
        self.keep(|name, _| keep(name));
    }

    fn keep(&mut self, keep: impl Fn(&HeaderName, &HeaderValue) -> bool) {
        let kept = self.headers.drain();
        let mut headers = HeaderMap::new();
        // `drain` yields a name only for the first of repeated headers.
        let mut current = None;
        for (name, value) in kept {
            if name.is_some() {
                current = name;
            }
            if let Some(name) = current.as_ref().filter(|name| keep(name, &value)) {
                headers.append(name.clone(), value);
            }
        }
        self.headers = headers;
    }
}

fn signs(name: &HeaderName) -> bool {
    name.as_str().starts_with("webhook-") || name == waybill_domain::signature::ASYNCQUEUE_SIGNATURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(method: Method, url: &str) -> Hop {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "secret"),
            ("x-api-key", "secret"),
            ("cookie", "secret"),
            ("content-type", "text/plain"),
            ("waybill-task-id", "task_1"),
            ("webhook-signature", "v1,x"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        Hop {
            method,
            url: Url::parse(url).expect("a URL"),
            query: None,
            headers,
            body: Bytes::from_static(b"body"),
        }
    }

    fn after(hop: &Hop, status: u16, location: &str) -> Option<Hop> {
        let mut answer = HeaderMap::new();
        answer.insert(LOCATION, HeaderValue::try_from(location).expect("a value"));
        hop.after(StatusCode::from_u16(status).expect("a status"), &answer)
    }

    #[test]
    fn the_method_and_the_body_stay_or_go_as_rfc_9110_says() {
        let cases = [
            (301, Method::POST, Method::POST),
            (302, Method::POST, Method::POST),
            (303, Method::POST, Method::GET),
            (303, Method::PUT, Method::GET),
            (303, Method::HEAD, Method::HEAD),
            (301, Method::PUT, Method::PUT),
            (307, Method::POST, Method::POST),
            (308, Method::POST, Method::POST),
        ];
        for (status, method, expected) in cases {
            let next = after(&hop(method, "http://a.example/x"), status, "/y").expect("followed");
            assert_eq!(next.method, expected, "{status}");
            assert_eq!(next.url.as_str(), "http://a.example/y");
            let with_body = expected != Method::GET;
            assert_eq!(next.body.is_empty(), !with_body, "{status}");
            assert_eq!(next.headers.contains_key("content-type"), with_body);
            assert_eq!(next.headers.contains_key("webhook-signature"), with_body);
            assert!(next.headers.contains_key("authorization"));
        }
    }

    #[test]
    fn another_origin_gets_no_header_that_could_be_a_secret() {
        let first = hop(Method::POST, "http://a.example/x");
        for elsewhere in [
            "http://b.example/",
            "https://a.example/x",
            "http://a.example:8080/x",
            "//b.example/",
        ] {
            let next = after(&first, 307, elsewhere).expect("followed");
            let names: Vec<&str> = next.headers.keys().map(HeaderName::as_str).collect();
            assert_eq!(names, ["content-type", "waybill-task-id"], "{elsewhere}");
        }
    }

    #[test]
    fn a_known_secret_goes_to_no_other_origin_whatever_its_header_is_called() {
        let mut first = hop(Method::GET, "https://a.example/x");
        for name in ["user-agent", "accept", "content-key", "idempotency-key"] {
            let mut value = HeaderValue::from_static("secret");
            value.set_sensitive(true);
            first.headers.insert(HeaderName::from_static(name), value);
        }
        let same = after(&first, 307, "/y").expect("followed");
        assert!(same.has_secret_headers());
        let other = after(&first, 307, "https://b.example/").expect("followed");
        assert!(!other.has_secret_headers());
        assert!(!format!("{:?}", other.headers).contains("secret"));
    }

    #[test]
    fn what_leads_nowhere_is_an_answer() {
        let first = hop(Method::GET, "https://a.example/x");
        for location in [
            "ftp://b.example/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "http://a.example/",
            "https://",
        ] {
            assert!(after(&first, 302, location).is_none(), "{location}");
        }
        assert!(after(&first, 200, "/y").is_none());
        assert!(after(&first, 304, "/y").is_none());
        assert!(first.after(StatusCode::FOUND, &HeaderMap::new()).is_none());
    }
}
