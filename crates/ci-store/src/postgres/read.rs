//! Snapshots: a repeatable-read transaction.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ci_model::{
    Aggregate, CiDetail, CiSummary, Epoch, Expand, Get, Graph, Groups, List, ListPage, Path, Question,
    Relation, Search, TenantId, Timestamp, Version,
};
use futures_util::TryStreamExt as _;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgHasArrayType, PgRow, PgTypeInfo, PgValueFormat, PgValueRef, Postgres,
};
use sqlx::{Arguments as _, AssertSqlSafe, Decode, PgConnection, PgPool, Row as _, Transaction, Type};
use uuid::Uuid;

use super::known::{Before, Known};
use super::{PostgresStore, connect};
use crate::source::{Cells, Source};
use crate::sql::{Argument, Dialect, Statement};
use crate::store::one_by_one;
use crate::{Error, Found, PathTrace, Result, Snapshot, answers, graph, path, together};

/// The state is that of the first read, so one is made at once, in the same round trip. The tables are locked before (as every
/// reading locks them, against being dropped or emptied), because TRUNCATE spares no older snapshot:
///
/// ```text
/// load                                    another program
/// begins, its state is that of now
///                                         truncates ci_ext, commits
/// reads ci_ext: empty, at a version that does not include the truncation
/// ```
const BEGIN: &str = "\
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE ci, ci_ext, ci_relation IN ACCESS SHARE MODE; SELECT 1";

/// How the statements that follow are planned: `force_generic_plan` and `off`, or `force_custom_plan` and `on`.
///
/// Planning the dozen tables of an expansion takes longer than running it: 4.5 ms of 5 for a CI of some ten relations, 0.9 ms with a plan that is kept. But a plan is made once, for
/// tables that may be empty then; without sequential scans it is the one that is good for large ones.
const PLANNING: &str =
    "SELECT set_config('plan_cache_mode', $1, true), set_config('enable_seqscan', $2, true)";

/// One state of the database. Dropping it ends the transaction before the connection is used again.
pub(super) struct PostgresSnapshot {
    transaction: Transaction<'static, Postgres>,
    statements: u32,
    /// Whether statements are planned once.
    planned_once: bool,
    state: StateOf,
}

/// How its version comes about.
enum StateOf {
    /// Read when it is asked for: what is known of the primary, and what was before it began.
    Primary(Arc<Known>, Before),
    /// Read at its beginning.
    Replica(Epoch, Version),
}

impl fmt::Debug for PostgresSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSnapshot")
            .field("statements", &self.statements)
            .finish_non_exhaustive()
    }
}

/// Begins a snapshot.
pub(super) async fn begin(store: &PostgresStore) -> Result<PostgresSnapshot> {
    let known = Arc::clone(&store.access.known);
    let before = known.before();
    let transaction = transaction(&store.pool).await?;
    Ok(PostgresSnapshot::new(
        transaction,
        StateOf::Primary(known, before),
    ))
}

/// Begins the transaction of a snapshot.
///
/// In a task of its own: dropped in the middle of a begin, the driver would return the connection to the pool inside
/// the transaction (launchbadge/sqlx#4393). The task ends in any case, and dropping its result cleans up.
pub(super) async fn transaction(pool: &PgPool) -> Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { Ok(connect::begin(&pool, BEGIN).await?) }).await;
    begun.unwrap_or_else(|_| Err(Error::Unavailable("the connection's task ended".into())))
}

impl PostgresSnapshot {
    fn new(transaction: Transaction<'static, Postgres>, state: StateOf) -> Self {
        Self {
            transaction,
            statements: 0,
            planned_once: false,
            state,
        }
    }

    /// One of a replica, in whose transaction its version was read.
    pub(super) fn of_replica(
        transaction: Transaction<'static, Postgres>,
        epoch: Epoch,
        version: Version,
    ) -> Self {
        Self::new(transaction, StateOf::Replica(epoch, version))
    }

    /// Sets how the next statement is planned, in a round trip of its own unless it is set so.
    async fn plan(&mut self, once: bool) -> Result<()> {
        if self.planned_once == once {
            return Ok(());
        }
        let (mode, scans) = if once {
            ("force_generic_plan", "off")
        } else {
            ("force_custom_plan", "on")
        };
        let query = sqlx::query(PLANNING).bind(mode).bind(scans);
        query.execute(&mut *self.transaction).await?;
        self.planned_once = once;
        Ok(())
    }
}

impl Source for PostgresSnapshot {
    const DIALECT: Dialect = Dialect::Postgres;
    type Row = PgRow;

    async fn rows(&mut self, statement: Statement) -> Result<Vec<PgRow>> {
        self.plan(statement.planned_once).await?;
        self.statements += 1;
        let arguments = bind(statement.arguments)?;
        let query = sqlx::query_with(AssertSqlSafe(statement.text), arguments);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    async fn each<F>(&mut self, statement: Statement, mut take: F) -> Result<()>
    where
        F: FnMut(&PgRow) -> Result<()> + Send,
    {
        self.plan(statement.planned_once).await?;
        self.statements += 1;
        let arguments = bind(statement.arguments)?;
        let query = sqlx::query_with(AssertSqlSafe(statement.text), arguments);
        let mut rows = query.fetch(&mut *self.transaction);
        while let Some(row) = rows.try_next().await? {
            take(&row)?;
        }
        Ok(())
    }
}

/// The connection of a transaction that writes, to read on it as a snapshot does.
pub(super) struct Connected<'c>(pub(super) &'c mut PgConnection);

impl Source for Connected<'_> {
    const DIALECT: Dialect = Dialect::Postgres;
    type Row = PgRow;

    async fn rows(&mut self, statement: Statement) -> Result<Vec<PgRow>> {
        let arguments = bind(statement.arguments)?;
        let query = sqlx::query_with(AssertSqlSafe(statement.text), arguments);
        Ok(query.fetch_all(&mut *self.0).await?)
    }

    async fn each<F>(&mut self, statement: Statement, take: F) -> Result<()>
    where
        F: FnMut(&PgRow) -> Result<()> + Send,
    {
        self.rows(statement).await?.iter().try_for_each(take)
    }
}

pub(super) fn bind(values: Vec<Argument>) -> Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Argument::Text(text) => arguments.add(text),
            Argument::Id(id) => arguments.add(id),
            Argument::Integer(number) => arguments.add(number),
            Argument::Moment(moment) => arguments.add(Moment(moment)),
            Argument::Texts(texts) => arguments.add(texts),
            Argument::Integers(numbers) => arguments.add(numbers),
            Argument::Moments(moments) => arguments.add(moments.into_iter().map(Moment).collect::<Vec<_>>()),
            Argument::Ids(ids) => arguments.add(ids),
        };
        added.map_err(|_| Error::Database("a value could not be bound".into()))?;
    }
    Ok(arguments)
}

/// A moment as the driver sends it: microseconds since the year 2000.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(pub(super) Timestamp);

/// 2000-01-01T00:00:00Z in microseconds since 1970.
const YEAR_2000: i64 = 946_684_800_000_000;

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Moment {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl Encode<'_, Postgres> for Moment {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Postgres>>::encode(self.0.as_micros() - YEAR_2000, buffer)
    }
}

impl Decode<'_, Postgres> for Moment {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Ok(Self(value.as_str()?.parse()?));
        }
        let micros = <i64 as Decode<Postgres>>::decode(value)?;
        // Infinity is the largest number.
        let since_1970 = micros.checked_add(YEAR_2000).ok_or("not a moment")?;
        Ok(Self(Timestamp::from_micros(since_1970)?))
    }
}

impl Cells for PgRow {
    fn text(&self, at: usize) -> Result<Option<String>> {
        Ok(self.try_get_unchecked(at)?)
    }

    fn integer(&self, at: usize) -> Result<Option<i64>> {
        Ok(self.try_get_unchecked(at)?)
    }

    fn id(&self, at: usize) -> Result<Option<Uuid>> {
        Ok(self.try_get_unchecked(at)?)
    }

    fn moment(&self, at: usize) -> Result<Option<Timestamp>> {
        let moment: Option<Moment> = self.try_get_unchecked(at)?;
        Ok(moment.map(|moment| moment.0))
    }
}

#[async_trait]
impl Snapshot for PostgresSnapshot {
    async fn search(&mut self, tenant: &TenantId, search: &Search) -> Result<Vec<CiSummary>> {
        answers::search(self, tenant, search).await
    }

    async fn get_many(&mut self, tenant: &TenantId, gets: &[Get]) -> Result<Vec<Option<CiDetail>>> {
        answers::get_many(self, tenant, gets).await
    }

    async fn relations(
        &mut self,
        tenant: &TenantId,
        after: Option<&Relation>,
        limit: u32,
    ) -> Result<Vec<Relation>> {
        answers::relations(self, tenant, after, limit).await
    }

    async fn list(&mut self, tenant: &TenantId, list: &List) -> Result<ListPage> {
        answers::list(self, tenant, list).await
    }

    async fn aggregate(&mut self, tenant: &TenantId, aggregate: &Aggregate) -> Result<Groups> {
        answers::aggregate(self, tenant, aggregate).await
    }

    async fn expand(&mut self, tenant: &TenantId, expand: &Expand) -> Result<Option<Graph>> {
        graph::expand(self, tenant, expand).await
    }

    async fn traverse(
        &mut self,
        tenant: &TenantId,
        expand: &Expand,
    ) -> Result<Option<(Graph, Vec<CiDetail>)>> {
        graph::traverse(self, tenant, expand).await
    }

    async fn path(&mut self, tenant: &TenantId, path: &Path) -> Result<PathTrace> {
        path::path(self, tenant, path).await
    }

    async fn ask_all(&mut self, tenant: &TenantId, questions: &[Question]) -> Result<Vec<Found>> {
        if questions.len() == 1 {
            return one_by_one(self, tenant, questions).await;
        }
        together::ask_all(self, tenant, questions).await
    }

    async fn version(&mut self) -> Result<Option<(Epoch, Version)>> {
        match &self.state {
            StateOf::Primary(known, before) => known.version(before, &mut self.transaction).await.map(Some),
            StateOf::Replica(epoch, version) => Ok(Some((*epoch, version.clone()))),
        }
    }

    fn statements(&self) -> u32 {
        self.statements
    }
}
