//! Every way in which a request can fail, in one table: status, type, title, and when to try again.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::header;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ci_model::Rejection;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

use super::answer::Origin;

/// The media type of every error (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request failed, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Something in the path, the query or the body does not fit; the detail says what is allowed.
    InvalidInput,
    /// The request has no token that counts.
    Unauthenticated,
    /// The token does not allow this.
    Forbidden,
    /// The tenant has no such CI.
    CiNotFound,
    /// The tenant has no such relation.
    RelationNotFound,
    /// There is no such path in this service.
    RouteNotFound,
    /// The path exists, but not with this method; the `allow` header lists those it has.
    MethodNotAllowed,
    /// The tenant asks more often, or more at once, than it may.
    TooManyRequests,
    /// The request's body did not arrive in time.
    BodyTimeout,
    /// The write contradicts what is in the database.
    Conflict,
    /// The CI is not as the request's `if-match` or `if-none-match` expects.
    PreconditionFailed,
    /// The body is larger than this service takes.
    BodyTooLarge,
    /// The body has another media type than this path takes.
    UnsupportedMediaType,
    /// A defect of this service or of its database; it is logged.
    Internal,
    /// The service is answering as many requests as it may at once.
    Overloaded,
    /// The answer was not ready in time.
    Timeout,
    /// The database cannot be reached or did not answer in time. Never answered as an empty result.
    DatabaseUnavailable,
    /// The database answers, but its change feed is not live or too far behind: of the readiness probe.
    FeedBehind,
    /// The keys of JWTs have not been fetched yet.
    KeysUnavailable,
    /// The service is about to stop: of the readiness probe.
    Stopping,
}

struct Row {
    kind: ProblemKind,
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    retry_after_s: Option<u16>,
}

const fn row(
    kind: ProblemKind,
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    retry_after_s: Option<u16>,
) -> Row {
    Row {
        kind,
        status,
        slug,
        title,
        retry_after_s,
    }
}

/// The table.
static ROWS: [Row; 20] = {
    use ProblemKind as K;
    use StatusCode as S;
    [
        row(
            K::InvalidInput,
            S::BAD_REQUEST,
            "invalid-input",
            "The request does not fit",
            None,
        ),
        row(
            K::Unauthenticated,
            S::UNAUTHORIZED,
            "unauthenticated",
            "There is no token that counts",
            None,
        ),
        row(
            K::Forbidden,
            S::FORBIDDEN,
            "forbidden",
            "The token does not allow this",
            None,
        ),
        row(
            K::CiNotFound,
            S::NOT_FOUND,
            "ci-not-found",
            "There is no such CI",
            None,
        ),
        row(
            K::RelationNotFound,
            S::NOT_FOUND,
            "relation-not-found",
            "There is no such relation",
            None,
        ),
        row(
            K::RouteNotFound,
            S::NOT_FOUND,
            "route-not-found",
            "There is no such path",
            None,
        ),
        row(
            K::MethodNotAllowed,
            S::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Not with this method",
            None,
        ),
        row(
            K::BodyTimeout,
            S::REQUEST_TIMEOUT,
            "body-timeout",
            "The body did not arrive in time",
            Some(1),
        ),
        row(
            K::Conflict,
            S::CONFLICT,
            "conflict",
            "The write contradicts the database",
            None,
        ),
        row(
            K::PreconditionFailed,
            S::PRECONDITION_FAILED,
            "precondition-failed",
            "The CI is not as expected",
            None,
        ),
        row(
            K::BodyTooLarge,
            S::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
            None,
        ),
        row(
            K::UnsupportedMediaType,
            S::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The body has another media type",
            None,
        ),
        row(
            K::Internal,
            S::INTERNAL_SERVER_ERROR,
            "internal",
            "The service failed",
            None,
        ),
        row(
            K::Overloaded,
            S::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests at once",
            Some(1),
        ),
        row(
            K::Timeout,
            S::SERVICE_UNAVAILABLE,
            "timeout",
            "The answer was not ready in time",
            Some(5),
        ),
        row(
            K::DatabaseUnavailable,
            S::SERVICE_UNAVAILABLE,
            "database-unavailable",
            "The database cannot be reached",
            Some(5),
        ),
        row(
            K::FeedBehind,
            S::SERVICE_UNAVAILABLE,
            "feed-behind",
            "The change feed is behind",
            Some(5),
        ),
        row(
            K::TooManyRequests,
            S::TOO_MANY_REQUESTS,
            "too-many-requests",
            "Too many requests of this tenant",
            Some(1),
        ),
        row(
            K::Stopping,
            S::SERVICE_UNAVAILABLE,
            "stopping",
            "The service is about to stop",
            Some(5),
        ),
        row(
            K::KeysUnavailable,
            S::SERVICE_UNAVAILABLE,
            "keys-unavailable",
            "The keys of tokens are not there",
            Some(5),
        ),
    ]
};

impl ProblemKind {
    fn row(self) -> &'static Row {
        let found = ROWS.iter().find(|row| row.kind == self);
        // A test checks that every kind has its row.
        found.unwrap_or(&ROWS[12])
    }

    /// The status code.
    pub fn status(self) -> StatusCode {
        self.row().status
    }

    /// The problem type: a relative reference that identifies it.
    pub fn uri(self) -> String {
        format!("/problems/{}", self.row().slug)
    }
}

/// The body of every error answer (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// What kind of problem: one of a fixed set of relative references, such as `/problems/invalid-input`.
    #[serde(rename = "type")]
    kind: String,
    /// The kind, for people.
    title: &'static str,
    /// The answer's status code.
    status: u16,
    /// What is wrong with this request.
    detail: String,
}

/// What an error answer says, for those who show it in another form than JSON.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) kind: ProblemKind,
    pub(crate) title: &'static str,
    pub(crate) detail: String,
}

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    origin: Option<Origin>,
    /// In place of what the table says, in seconds.
    retry_after_s: Option<u16>,
}

impl Problem {
    /// A problem with its detail, a sentence without the values of rows.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            origin: None,
            retry_after_s: None,
        }
    }

    /// Says when to try again, where that is known.
    pub(crate) fn retry_after(mut self, seconds: u16) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Input that does not fit.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::InvalidInput, detail)
    }

    /// An absent CI: the same words whether it never existed, is deleted, or belongs to another tenant.
    pub(crate) fn no_ci(origin: Option<&Origin>) -> Self {
        Self {
            origin: origin.cloned(),
            ..Self::new(
                ProblemKind::CiNotFound,
                "this tenant has no CI with this id or code",
            )
        }
    }

    /// A failure whose cause only the log may tell.
    fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "failed to {cause}");
        Self::new(ProblemKind::Internal, "the cause is in the log of the service")
    }

    /// Says how much of an import was committed before it ended.
    pub(crate) fn after(mut self, committed: u64) -> Self {
        self.detail = format!("{}; {committed} lines were committed before", self.detail);
        self
    }

    /// What it says, for an answer that is not HTTP's.
    #[cfg(feature = "mcp")]
    pub(crate) fn told(self) -> Told {
        Told {
            kind: self.kind,
            title: self.kind.row().title,
            detail: self.detail,
        }
    }

    /// The kind.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let row = self.kind.row();
        let body = ProblemBody {
            kind: self.kind.uri(),
            title: row.title,
            status: row.status.as_u16(),
            detail: self.detail,
        };
        let told = Told {
            kind: self.kind,
            title: row.title,
            detail: body.detail.clone(),
        };
        // A struct of texts and a number always has a JSON form.
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mut response = (row.status, [(header::CONTENT_TYPE, PROBLEM_JSON)], text).into_response();
        response.extensions_mut().insert(told);
        if let Some(seconds) = self.retry_after_s.or(row.retry_after_s) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == ProblemKind::Unauthenticated {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(origin) = self.origin {
            origin.set(response.headers_mut());
        }
        response
    }
}

impl From<ci_model::Error> for Problem {
    fn from(error: ci_model::Error) -> Self {
        Self::invalid(sentence(&error))
    }
}

impl From<Rejection> for Problem {
    fn from(reason: Rejection) -> Self {
        let kind = if reason == Rejection::PreconditionFailed {
            ProblemKind::PreconditionFailed
        } else {
            ProblemKind::Conflict
        };
        Self::new(kind, reason.to_string())
    }
}

impl From<ci_store::Error> for Problem {
    fn from(error: ci_store::Error) -> Self {
        use ci_store::Error as E;
        match error {
            E::Rejected { reason, .. } => reason.into(),
            E::Unavailable(_) | E::Timeout(_) | E::Conflict(_) => {
                tracing::warn!(%error, "failed to {error}");
                let detail = "the database cannot be reached or did not answer in time; try again";
                Self::new(ProblemKind::DatabaseUnavailable, detail)
            }
            other => Self::internal(&other),
        }
    }
}

impl From<ci_runner::Error> for Problem {
    fn from(error: ci_runner::Error) -> Self {
        match error {
            ci_runner::Error::Invalid(error) => error.into(),
            ci_runner::Error::Store(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

/// An error's fragment as a sentence's beginning: all fragments read after "failed to".
pub(crate) fn sentence(error: &dyn std::fmt::Display) -> String {
    format!("failed to {error}")
}

/// The OpenAPI form of the problems that an operation can answer with.
pub(crate) fn documented(kinds: &[ProblemKind]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let mut titles: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for kind in kinds {
        let row = kind.row();
        titles
            .entry(row.status.as_str().to_owned())
            .or_default()
            .push(row.title);
    }
    let response = |titles: Vec<&str>| {
        let schema = Ref::from_schema_name("Problem");
        let content = ContentBuilder::new().schema(Some(schema)).build();
        ResponseBuilder::new()
            .description(titles.join("; or: "))
            .content(PROBLEM_JSON, content)
            .build()
    };
    titles
        .into_iter()
        .map(|(status, titles)| (status, response(titles).into()))
        .collect()
}

/// Declares a set of problems for the `responses(...)` of an operation.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: $($kind:ident),+;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
                documented(&[$(ProblemKind::$kind),+])
            }
        }
    )+};
}

problems! {
    /// Of questions that always have an answer.
    AskProblems: InvalidInput, TooManyRequests, Unauthenticated, Forbidden, Internal, Overloaded, Timeout, DatabaseUnavailable;
    /// Of questions about one CI.
    FindProblems: InvalidInput, TooManyRequests, Unauthenticated, Forbidden, CiNotFound, Internal, Overloaded, Timeout, DatabaseUnavailable;
    /// Of questions with a body.
    BatchProblems: InvalidInput, TooManyRequests, Unauthenticated, Forbidden, BodyTimeout, BodyTooLarge, UnsupportedMediaType, Internal, Overloaded, Timeout,
        DatabaseUnavailable;
    /// Of writes of a CI.
    PutProblems: InvalidInput, TooManyRequests, Unauthenticated, Forbidden, BodyTimeout, Conflict, PreconditionFailed, BodyTooLarge, UnsupportedMediaType,
        Internal, Overloaded, Timeout, DatabaseUnavailable;
    /// Of the deletion of a CI.
    DeleteProblems: InvalidInput, TooManyRequests, Unauthenticated, Forbidden, CiNotFound, PreconditionFailed, Internal, Overloaded, Timeout,
        DatabaseUnavailable;
    /// Of writes with a body.
    WriteProblems: InvalidInput, TooManyRequests, Unauthenticated, Forbidden, BodyTimeout, Conflict, BodyTooLarge, UnsupportedMediaType, Internal, Overloaded,
        Timeout, DatabaseUnavailable;
    /// Of imports: lines that contradict the database are reported, not refused.
    ImportProblems: InvalidInput, TooManyRequests, Unauthenticated, Forbidden, BodyTimeout, BodyTooLarge, UnsupportedMediaType, Internal, Overloaded, Timeout,
        DatabaseUnavailable;
    /// Of the removal of a relation.
    RemoveProblems: InvalidInput, TooManyRequests, Unauthenticated, Forbidden, RelationNotFound, BodyTimeout, BodyTooLarge, UnsupportedMediaType, Internal,
        Overloaded, Timeout, DatabaseUnavailable;
    /// Of commands to the cache.
    ControlProblems: InvalidInput, Unauthenticated, Forbidden, BodyTimeout, BodyTooLarge, UnsupportedMediaType, Overloaded, Timeout;
    /// Of those who follow changes.
    ChangesProblems: InvalidInput, TooManyRequests, Unauthenticated, Forbidden, Overloaded, FeedBehind;
    /// Of what needs no database.
    PlainProblems: InvalidInput, Unauthenticated, Forbidden, Overloaded;
    /// Of what is open to everybody.
    OpenProblems: InvalidInput, Overloaded;
    /// Of the readiness probe.
    ReadyProblems: InvalidInput, Internal, DatabaseUnavailable, FeedBehind, KeysUnavailable, Stopping;
    /// Of the metrics.
    MetricsProblems: InvalidInput, Unauthenticated, Forbidden, RouteNotFound;
    /// Of the liveness probe.
    AliveProblems: InvalidInput;
}

/// How long until a client should try again, for those who document it.
pub fn retry_after(kind: ProblemKind) -> Option<Duration> {
    kind.row()
        .retry_after_s
        .map(|seconds| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_and_its_own_type() {
        let mut slugs: Vec<&str> = ROWS.iter().map(|row| row.slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ROWS.len());
        for row in &ROWS {
            assert_eq!(row.kind.row().slug, row.slug);
            assert_eq!(row.kind.uri(), format!("/problems/{}", row.slug));
            let temporary = [
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::REQUEST_TIMEOUT,
                StatusCode::TOO_MANY_REQUESTS,
            ]
            .contains(&row.status);
            assert_eq!(retry_after(row.kind).is_some(), temporary, "{}", row.slug);
        }
    }

    #[test]
    fn a_fault_of_the_database_tells_nothing_of_it() {
        let secret = ci_store::Error::Unavailable("postgres://user:hunter2@db.internal".into());
        let problem = Problem::from(ci_runner::Error::Store(secret));
        assert_eq!(problem.kind(), ProblemKind::DatabaseUnavailable);
        assert!(!problem.detail.contains("hunter2"));
        let corrupt = Problem::from(ci_store::Error::Corrupt("ci_name".into()));
        assert_eq!(corrupt.kind(), ProblemKind::Internal);
        assert!(!corrupt.detail.contains("ci_name"));
    }
}
