//! Who opens a stream: a caller with a credential in a header, or, on these routes alone, in the query string. Browsers cannot send headers
//! with `EventSource` and `WebSocket`.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use http::request::Parts;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::ApiError;

use crate::state::LiveApi;

/// Parameters that hold a credential.
const CREDENTIALS: [&str; 2] = ["token", "api_key"];

/// Who reads jobs.
pub(crate) type JobsReader = Caller<InQueues<JobsRead>>;

/// A caller that may open a stream.
pub(crate) struct Reader(pub(crate) Arc<JobsReader>);

impl FromRequestParts<LiveApi> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &LiveApi) -> Result<Self, ApiError> {
        let in_header = ["authorization", "x-api-key"];
        if !in_header
            .iter()
            .any(|name| parts.headers.contains_key(*name))
            && let Some(presented) = presented(parts.uri.query().unwrap_or_default())
        {
            let value = HeaderValue::try_from(format!("Bearer {presented}"));
            let mut value = value.map_err(|_| ApiError::key_refused())?;
            value.set_sensitive(true);
            parts.headers.insert(AUTHORIZATION, value);
        }
        let caller = JobsReader::from_request_parts(parts, state).await?;
        caller.needs_api()?;
        Ok(Self(Arc::new(caller)))
    }
}

fn presented(query: &str) -> Option<String> {
    let mut given = url::form_urlencoded::parse(query.as_bytes());
    let found = given.find(|(name, _)| CREDENTIALS.contains(&&**name));
    found.map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_in_either_parameter() {
        assert_eq!(presented("queue=a&token=k"), Some("k".to_owned()));
        assert_eq!(presented("api_key=k%20x"), Some("k x".to_owned()));
        assert_eq!(presented("access_token=k"), None);
    }
}
