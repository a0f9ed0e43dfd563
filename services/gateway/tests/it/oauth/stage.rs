//! A team with an owner, its applications, and a browser.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use url::Url;
use waybill_domain::access::pkce::Challenge;
use waybill_domain::id::TeamId;
use waybill_gateway::GatewayConfig;
use waybill_testkit::http::{Answer, Http};

use crate::teams::people::Person;
use crate::world::{World, config};

pub(super) const REDIRECT: &str = "https://app.example.com/cb";
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub(super) struct Stage {
    pub(super) world: World,
    pub(super) owner: Person,
    pub(super) team: TeamId,
    /// Nobody in particular.
    pub(super) http: Http,
}

/// An application as its makers know it.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<String>,
}

pub(super) type Fields<'a> = Vec<(&'a str, &'a str)>;

pub(super) fn encoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// Sends a form.
pub(super) async fn post(http: &Http, path: &str, fields: &[(&str, &str)]) -> Result<Answer> {
    http.send(Method::POST, path, &[FORM], encoded(fields))
        .await
}

/// With these instead of those of the same name; an empty one is left out.
pub(super) fn but<'a>(fields: &Fields<'a>, others: &[(&'a str, &'a str)]) -> Fields<'a> {
    let mut changed = fields.clone();
    changed.retain(|(name, _)| others.iter().all(|(other, _)| other != name));
    changed.extend(others.iter().filter(|(_, value)| !value.is_empty()));
    changed
}

/// What an answer says in a parameter of where it leads.
pub(super) fn told(answer: &Answer, name: &str) -> Result<String> {
    let location = answer.header("location").with_context(|| answer.text())?;
    let url = Url::parse(location)?;
    let found = url.query_pairs().find(|(own, _)| own == name);
    Ok(found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default())
}

/// What the link of a page would tell the application: nobody is sent anywhere by the answer itself.
pub(super) fn told_by_link(answer: &Answer, name: &str) -> Result<String> {
    anyhow::ensure!(answer.status == 400 && answer.header("location").is_none());
    let page = answer.text();
    let (_, rest) = page.split_once("href=\"").with_context(|| page.clone())?;
    let (link, _) = rest.split_once('"').context("the end of the link")?;
    let url = Url::parse(&link.replace("&amp;", "&").replace("&#39;", "'"))?;
    anyhow::ensure!(url.as_str().starts_with(&format!("{REDIRECT}?")), "{url}");
    let found = url.query_pairs().find(|(own, _)| own == name);
    Ok(found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default())
}

pub(super) fn text(answer: &Answer, field: &str) -> Result<String> {
    let value = answer.json()[field].as_str().map(str::to_owned);
    value.with_context(|| format!("{} {}", answer.status, answer.text()))
}

pub(super) fn oauth_error(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.error())
}

impl Stage {
    pub(super) async fn start() -> Result<Self> {
        Self::start_with(config()).await
    }

    pub(super) async fn start_with(config: GatewayConfig) -> Result<Self> {
        let world = World::start_with(config).await?;
        let owner = Person::signed_in(&world, "ann").await?;
        let team = owner.team(&world, "Ours", "enterprise").await?;
        Ok(Self {
            http: Http::at(world.gateway.addr()),
            world,
            owner,
            team,
        })
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.world.stop().await
    }

    pub(super) fn apps(&self) -> String {
        format!("/teams/{}/apps", self.team)
    }

    /// Registers an application.
    pub(super) async fn register(&self, body: &Value) -> Result<Client> {
        let answer = self.owner.http.post(&self.apps(), body).await?;
        ensure!(answer.status == 201, "{}", answer.text());
        let app = &answer.json()["app"];
        Ok(Client {
            id: app["id"].as_str().context("an id")?.to_owned(),
            secret: app["clientSecret"].as_str().map(str::to_owned),
        })
    }

    /// A confidential one that may read and write tasks and see activity.
    pub(super) async fn client(&self) -> Result<Client> {
        self.register(&json!({
            "name": "Dashboard <b>",
            "scopes": ["tasks:read", "tasks:write", "activity:read"],
            "redirectUris": [REDIRECT],
        }))
        .await
    }

    pub(super) async fn public_client(&self) -> Result<Client> {
        self.register(&json!({
            "name": "Phone",
            "type": "public",
            "scopes": ["tasks:read"],
            "redirectUris": ["com.example.app:/cb", "http://127.0.0.1/cb"],
        }))
        .await
    }

    /// Where our pages say they come from.
    pub(super) fn origin(&self) -> &str {
        &self.http.url
    }

    /// What a browser sends along whose person is signed in.
    pub(super) fn cookie(&self, person: &Person) -> String {
        format!("waybill-consent={}", person.token)
    }

    pub(super) async fn ask(&self, person: &Person, request: &[(&str, &str)]) -> Result<Answer> {
        let path = format!("/oauth/authorize?{}", encoded(request));
        let cookie = self.cookie(person);
        self.http
            .send(Method::GET, &path, &[("cookie", &cookie)], "")
            .await
    }

    pub(super) async fn decide(
        &self,
        person: &Person,
        origin: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Result<Answer> {
        let cookie = self.cookie(person);
        let mut headers = vec![FORM, ("cookie", cookie.as_str())];
        headers.extend(origin.map(|origin| ("origin", origin)));
        self.http
            .send(Method::POST, "/oauth/authorize", &headers, encoded(fields))
            .await
    }

    /// Asks, and answers the page as a person does who presses a button.
    pub(super) async fn consent(
        &self,
        person: &Person,
        request: &[(&str, &str)],
        decision: &str,
    ) -> Result<Answer> {
        let page = self.ask(person, request).await?;
        ensure!(page.status == 200, "{}", page.text());
        let token = page_token(&page)?;
        let team = self.team.to_string();
        let mut fields = request.to_vec();
        fields.extend([
            ("page", token.as_str()),
            ("team", &team),
            ("decision", decision),
        ]);
        self.decide(person, Some(self.origin()), &fields).await
    }

    /// A code that a person consented to.
    pub(super) async fn code(&self, person: &Person, client: &Client) -> Result<String> {
        let answer = self.consent(person, &request(client), "allow").await?;
        ensure!(answer.status == 303, "{}", answer.text());
        let code = told(&answer, "code")?;
        ensure!(!code.is_empty(), "{:?}", answer.header("location"));
        Ok(code)
    }

    /// The tokens for such a code.
    pub(super) async fn tokens(
        &self,
        person: &Person,
        client: &Client,
    ) -> Result<(String, String)> {
        let code = self.code(person, client).await?;
        let answer = post(&self.http, "/oauth/token", &redemption(client, &code)).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok((
            text(&answer, "access_token")?,
            text(&answer, "refresh_token")?,
        ))
    }

    /// A token of the client itself.
    pub(super) async fn own_token(&self, client: &Client) -> Result<String> {
        let mut fields = credentials(client);
        fields.push(("grant_type", "client_credentials"));
        let answer = post(&self.http, "/oauth/token", &fields).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        ensure!(
            answer.json().get("refresh_token").is_none(),
            "{}",
            answer.text()
        );
        text(&answer, "access_token")
    }

    pub(super) async fn introspect(&self, client: &Client, token: &str) -> Result<Answer> {
        let mut fields = credentials(client);
        fields.push(("token", token));
        post(&self.http, "/oauth/introspect", &fields).await
    }

    /// Whether a token opens the list of tasks.
    pub(super) async fn opens(&self, token: &str) -> Result<u16> {
        let answer = self.http.with_key(token).get("/v1/tasks").await?;
        Ok(answer.status.as_u16())
    }
}

pub(super) fn page_token(page: &Answer) -> Result<String> {
    let text = page.text();
    let (_, rest) = text
        .split_once("name=\"page\" value=\"")
        .with_context(|| text.clone())?;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

/// A good request of that client.
pub(super) fn request(client: &Client) -> Fields<'_> {
    vec![
        ("response_type", "code"),
        ("client_id", &client.id),
        ("redirect_uri", REDIRECT),
        ("state", "st&te"),
        ("code_challenge", challenge()),
        ("code_challenge_method", "S256"),
    ]
}

pub(super) fn credentials(client: &Client) -> Fields<'_> {
    let mut fields = vec![("client_id", client.id.as_str())];
    fields.extend(client.secret.as_deref().map(|s| ("client_secret", s)));
    fields
}

/// A good redemption of a code by that client.
pub(super) fn redemption<'a>(client: &'a Client, code: &'a str) -> Fields<'a> {
    let mut fields = credentials(client);
    fields.extend([
        ("grant_type", "authorization_code"),
        ("code", code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", REDIRECT),
    ]);
    fields
}

pub(super) fn refreshing<'a>(client: &'a Client, token: &'a str) -> Fields<'a> {
    let mut fields = credentials(client);
    fields.extend([("grant_type", "refresh_token"), ("refresh_token", token)]);
    fields
}

pub(super) fn challenge() -> &'static str {
    static CHALLENGE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        Challenge::of(VERIFIER)
            .expect("a verifier")
            .as_str()
            .to_owned()
    });
    &CHALLENGE
}
