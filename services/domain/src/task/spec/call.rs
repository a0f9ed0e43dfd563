//! The parts of a request that are sent to the target: URL, headers and body, and vault references
//! in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::{MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL_BYTES};
use crate::egress::check_header;
use crate::event::BodyEncoding;
use crate::task::method::Method;
use crate::task::request::{Invalid, TaskRequest, shortened};
use crate::vault::hosts::may_carry_secrets;
use crate::vault::reference::{self, MAX_TOKENS, Place, Resolve};
use crate::vault::replace;

/// The URL to call; empty if there is none, so that workers claim the task. What only a call has is
/// refused then: whoever gives it has forgotten the URL.
pub(super) fn target(request: &TaskRequest) -> Result<String, Invalid> {
    const FIELD: &str = "targetUrl";
    if request.target_url.is_some() {
        return required_url(FIELD, request.target_url.as_deref());
    }
    let of_calls = [
        ("method", request.method.is_some()),
        ("headers", !request.headers.is_empty()),
        ("timeout", request.timeout_seconds.is_some()),
        ("maxWaitTime", request.max_wait_seconds.is_some()),
        ("success", request.success.is_some()),
        ("retryOn", request.retry_on.is_some()),
        ("followRedirects", request.follow_redirects.is_some()),
        ("resolve", request.resolve.is_some()),
    ];
    match of_calls.into_iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(Invalid::new(
            FIELD,
            format!(
                "{FIELD} is required with {field}, which is about a call; a task without both is claimed by workers"
            ),
        )),
        None => Ok(String::new()),
    }
}

pub(super) fn required_url(field: &'static str, text: Option<&str>) -> Result<String, Invalid> {
    let invalid = |why: String| Err(Invalid::new(field, format!("{field} {why}")));
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return invalid("is required".into());
    };
    if text.len() > MAX_URL_BYTES {
        return invalid(format!(
            "must be at most {MAX_URL_BYTES} bytes, not {}",
            text.len()
        ));
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return invalid(format!("is not a valid URL: {error}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return invalid(format!(
            "must be http or https, not {}",
            shortened(url.scheme())
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return invalid("must have a host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return invalid(
            "must not hold a user name or password; send an Authorization header instead".into(),
        );
    }
    if url.port() == Some(0) {
        return invalid("must not use port 0".into());
    }
    Ok(text.trim().to_owned())
}

pub(super) fn method(text: Option<&str>) -> Result<Method, Invalid> {
    let Some(text) = text else {
        return Ok(Method::default());
    };
    Method::parse(text).ok_or_else(|| {
        Invalid::new(
            "method",
            format!(
                "method must be one of GET, POST, PUT, DELETE, PATCH, HEAD, not {:?}",
                shortened(text)
            ),
        )
    })
}

pub(super) fn check_headers(headers: &[(String, String)]) -> Result<(), Invalid> {
    let invalid = |why: String| Err(Invalid::new("headers", why));
    if headers.len() > MAX_HEADERS {
        return invalid(format!(
            "headers must hold at most {MAX_HEADERS} entries, not {}",
            headers.len()
        ));
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX_HEADER_BYTES {
        return invalid(format!(
            "headers must be at most {MAX_HEADER_BYTES} bytes together, not {bytes}"
        ));
    }
    for (name, value) in headers {
        if let Err(refused) = check_header(name, value) {
            return invalid(format!("headers: {} {refused}", shortened(name)));
        }
    }
    Ok(())
}

pub(super) fn check_body(body: Option<&str>) -> Result<(), Invalid> {
    match body {
        Some(body) if body.len() > MAX_BODY_BYTES => Err(Invalid::new(
            "body",
            format!(
                "body must be at most {MAX_BODY_BYTES} bytes, not {}",
                body.len()
            ),
        )),
        _ => Ok(()),
    }
}

pub(super) fn body_encoding(
    encoding: Option<&str>,
    body: Option<&str>,
    resolve: Resolve,
) -> Result<BodyEncoding, Invalid> {
    let invalid = |why: String| Err(Invalid::new("bodyEncoding", why));
    match encoding {
        None | Some("text") => Ok(BodyEncoding::Text),
        Some("base64") => {
            if resolve.body {
                return invalid(
                    "bodyEncoding: tokens of the vault cannot be put into a body in base64; leave \"body\" out of resolve".into(),
                );
            }
            let body = body.unwrap_or_default();
            match STANDARD.decode(body) {
                Ok(_) => Ok(BodyEncoding::Base64),
                Err(error) => Err(Invalid::new(
                    "body",
                    format!("body is not base64 with padding (RFC 4648, 4): {error}"),
                )),
            }
        }
        Some(other) => invalid(format!(
            "bodyEncoding must be \"text\" or \"base64\", not {:?}",
            shortened(other)
        )),
    }
}

/// Checks references as far as possible without the tokens. Whether the tokens exist is not checked
/// here.
pub(super) fn check_references(
    headers: &[(String, String)],
    url: &str,
    body: Option<&str>,
    resolve: Resolve,
) -> Result<(), Invalid> {
    let all = || reference::references(headers, url, body, resolve);
    let mut any = false;
    let mut in_body = false;
    for reference in all() {
        if reference.token.is_none() {
            return Err(reference.unknown());
        }
        any = true;
        in_body |= reference.place == Place::Body;
    }
    if !any {
        return Ok(());
    }
    if reference::too_many(all()) {
        return Err(Invalid::new(
            "headers",
            format!("A task may reference at most {MAX_TOKENS} different vault tokens"),
        ));
    }
    if let (true, Some(body)) = (in_body, body) {
        replace::check_body(headers, body)?;
    }
    if !Url::parse(url).is_ok_and(|url| may_carry_secrets(&url)) {
        return Err(Invalid::new(
            "targetUrl",
            "targetUrl must be https, as the task references the vault: http would send its credentials in the clear",
        ));
    }
    Ok(())
}
