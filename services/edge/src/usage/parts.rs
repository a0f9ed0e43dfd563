//! How a route and the kind of its answer are written into the name of a tally, and read from it.

use http::{Method, StatusCode};

/// A name may not hold these, and no route does but for the first.
const ESCAPED: [(char, &str); 4] = [('.', "%2E"), ('*', "%2A"), ('>', "%3E"), (' ', "%20")];

/// Such as `GET:/v1/tasks/{id}:2xx`.
pub(super) fn route_token(method: &Method, route: &str, status: StatusCode) -> String {
    let mut token = format!("{method}:{route}:{}xx", status.as_u16() / 100);
    for (character, escaped) in ESCAPED {
        if token.contains(character) {
            token = token.replace(character, escaped);
        }
    }
    token
}

/// Method, route and kind of status, such as `GET`, `/v1/tasks/{id}` and `2xx`.
pub(super) fn read_route(token: &str) -> Option<(String, String, String)> {
    let mut token = token.to_owned();
    for (character, escaped) in ESCAPED {
        token = token.replace(escaped, &character.to_string());
    }
    let (method, rest) = token.split_once(':')?;
    let (route, status) = rest.rsplit_once(':')?;
    Some((method.to_owned(), route.to_owned(), status.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_was_written() {
        for route in [
            "/v1/tasks/{id}",
            "/openapi.json",
            "/v1/a:b/{c}",
            "unmatched",
        ] {
            let token = route_token(&Method::POST, route, StatusCode::TOO_MANY_REQUESTS);
            assert!(!token.contains(['.', '*', '>', ' ']), "{token}");
            let read = read_route(&token).expect("a route");
            assert_eq!(read, ("POST".into(), route.into(), "4xx".into()));
        }
    }
}
