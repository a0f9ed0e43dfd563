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
use super::principal::Principal;
use crate::entropy;
use crate::error::ApiError;
use crate::state::AppState;

/// A token that this gateway has not read yet is waited for so long: it was handed out elsewhere a moment ago.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Only grants so young, or known here, are looked for in the log, so that made-up tokens cost a look-up in memory and no more.
const FRESH: Duration = Duration::from_secs(10);

impl AppStanding {
    /// The application, as who calls.
    pub(crate) fn principal(&self) -> Principal {
        Principal::App {
            app: self.app.created.app.clone(),
            grant: self.grant.clone(),
            user: self.user.clone(),
            scopes: self.scopes,
        }
    }
}

/// Whose access token this is, when it is good. `stranger`: where it comes from, when nobody has yet proved who they are.
pub(crate) async fn recognise(
    state: &AppState,
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
    // After too many failures from there the log is asked for nothing; what is known here goes on working.
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
            "authorization_unavailable",
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

/// Reads on, if the log holds more of the grant than this gateway has read.
async fn catch_up(state: &AppState, token: &Token) -> Option<()> {
    let grant = GrantId::from_ulid(token.ulid()).ok()?;
    let (made, now) = (grant.made_at(), entropy::now());
    let is_fresh = now.since(made) < FRESH && made.since(now) < FRESH;
    if !is_fresh && state.auth.directory().grant(&grant).is_none() {
        return None;
    }
    let filter = Boundary::Grant(grant).filter();
    let caught_up = async {
        let last = state.log.last(Stream::Control, &filter).await.ok()??;
        if last.seq <= state.auth.applied() {
            return None;
        }
        state.auth.wait_for(last.seq).await.ok()
    };
    tokio::time::timeout(CATCH_UP, caught_up).await.ok()?
}
