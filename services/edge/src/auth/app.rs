//! An OAuth application, recognised by an access token.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use waybill_domain::access::secret::ENTROPY_BYTES;
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::event::Boundary;
use waybill_domain::id::GrantId;
use waybill_log::Stream;

use super::directory::{AppRecognition, AppStanding};
use crate::error::{ApiError, ErrorCode};
use crate::principal::Principal;
use crate::state::Edge;
use waybill_commands::entropy;

/// A token that this gateway has not read yet is waited for this long: it was handed out at another gateway a moment ago.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Only grants younger than this, or known here, are looked for in the log, so that made-up tokens cost a look-up in memory and no more.
const FRESH: Duration = Duration::from_secs(10);

impl AppStanding {
    /// The application, as who calls.
    pub fn principal(&self) -> Principal {
        Principal::App {
            app: self.app.created.app.clone(),
            grant: self.grant.clone(),
            user: self.user.clone(),
            scopes: self.scopes,
        }
    }
}

/// Identifies the application by its access token. `stranger`: the address of a client that has not authenticated in another way.
pub async fn recognise(
    state: &Edge,
    presented: &str,
    stranger: Option<IpAddr>,
) -> Result<AppStanding, ApiError> {
    let parsed = Token::parse(presented).filter(|token| {
        let brands = &state.config.key_brands;
        token.kind() == TokenKind::Access && brands.iter().any(|brand| brand == token.brand())
    });
    let look = |token: &Token| {
        let directory = state.auth.directory();
        directory.recognise_app(token, state.control.pepper(), entropy::now())
    };
    let Some(token) = parsed else {
        // Takes as long as one that is well formed.
        if let Some(stand_in) = &*STAND_IN {
            std::hint::black_box(look(stand_in));
        }
        return Err(ApiError::token_refused());
    };
    let mut found = look(&token);
    // After too many failures from that network the log is not asked any more; tokens that are known here go on working.
    if matches!(found, AppRecognition::Refused)
        && stranger.is_none_or(|source| state.limiter.is_source_open(source))
        && catch_up(state, &token).await.is_some()
    {
        // The lease may have lapsed meanwhile.
        state.fence.may_decide()?;
        found = look(&token);
    }
    match found {
        AppRecognition::Known(standing) => Ok(*standing),
        AppRecognition::Refused => Err(ApiError::token_refused()),
        AppRecognition::PepperMissing => Err(ApiError::unavailable(
            ErrorCode::AuthorizationUnavailable,
            "This access token cannot be checked at the moment; try again later",
        )),
    }
}

static STAND_IN: LazyLock<Option<Token>> = LazyLock::new(|| {
    Token::generate(
        "wb",
        TokenKind::Access,
        &"0".repeat(26),
        &[1; ENTROPY_BYTES],
    )
});

/// Waits for what the log holds of the grant and this gateway has not read.
async fn catch_up(state: &Edge, token: &Token) -> Option<()> {
    let grant = GrantId::from_ulid(token.ulid()).ok()?;
    let (made, now) = (grant.made_at(), entropy::now());
    let is_fresh = now.since(made) < FRESH && made.since(now) < FRESH;
    if !is_fresh && state.auth.directory().grant(&grant).is_none() {
        return None;
    }
    let filter = Boundary::Grant(grant).filter();
    let caught_up = async {
        let last = state.log.last(Stream::Control, &filter).await.ok()??;
        // It may have been applied since the grant was looked up: the caller looks again in any case.
        state.auth.wait_for(last.seq).await.ok()
    };
    tokio::time::timeout(CATCH_UP, caught_up).await.ok()?
}
