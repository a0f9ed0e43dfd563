//! Values and bodies that break the rules of the jobs API, which tells the kind of rule.

use http::StatusCode;

use super::{ApiError, ErrorCode};

/// 400: a value breaks a rule about one field.
pub fn broken(field: &'static str, text: impl std::fmt::Display, rule: &'static str) -> ApiError {
    ApiError::bad_field(field, format!("{field}: {text}")).breaking(rule)
}

/// 422 for a body that is JSON and has not the shape. What is no JSON stays 400.
#[must_use]
pub fn misshapen(mut error: ApiError) -> ApiError {
    match error.body.code {
        ErrorCode::InvalidField | ErrorCode::InvalidBody => {}
        _ => return error,
    }
    error.status = StatusCode::UNPROCESSABLE_ENTITY;
    let text = error.body.message.clone();
    let Some((before, rest)) = text.split_once("missing field `") else {
        return error.breaking("type");
    };
    let Some((name, _)) = rest.split_once('`') else {
        return error.breaking("type");
    };
    // `jobs[3]: missing field ...` is about a member of that item.
    let within = error.body.field.as_deref();
    let within = within.filter(|within| before.starts_with(within));
    let field = match within {
        Some(within) => format!("{within}.{name}"),
        None => name.to_owned(),
    };
    error.body.message = format!("{field} is required").into();
    error.body.error = error.body.message.clone();
    error.about(field).breaking("required")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::body::parse_leniently;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Wanted {
        queue_name: String,
        jobs: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Inner {
        payload: u8,
    }

    #[test]
    fn what_is_no_json_is_400_and_what_has_another_shape_422() {
        for (text, status, field) in [
            ("{", 400, None),
            ("[]", 422, None),
            ("{}", 422, Some("queue_name")),
            (r#"{"queue_name": 1}"#, 422, Some("queue_name")),
            (
                r#"{"queue_name": "q", "jobs": [{"payload": 1}, {}]}"#,
                422,
                Some("jobs[1].payload"),
            ),
        ] {
            let error = parse_leniently::<Wanted>(text.as_bytes());
            let error = misshapen(error.expect_err(text));
            let named = error.body.field.as_deref();
            assert_eq!((error.status.as_u16(), named), (status, field), "{text}");
        }
    }
}
