//! Redis cache-aside over our store, as a service with several processes writes it: one multiplexed connection, the questions of a page in
//! one MGET, what was missing in one call of the store and one pipeline of SETs with a time to live, answers as JSON. After a write of its own the CI's
//! entry is deleted. Simultaneous misses each ask the database: that is what plain cache-aside does.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use ci_model::{CiRecord, Get, Key, Question, TenantId};
use ci_store::Store;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;

use super::{Arm, Outcome, Shown, ask, found, names, reply, write};
use crate::counted::{Counted, Counts};
use crate::operation::Operation;
use crate::plain::{Plain, Row};

/// What stands before the key of a traversal, which holds more than the expansion of the same key.
const TRAVERSAL: &[u8] = b"traverse";

/// The cache.
#[derive(Debug)]
pub struct RedisAside {
    store: Arc<Counted>,
    connection: MultiplexedConnection,
    ttl_secs: u64,
}

impl RedisAside {
    /// Connects to a server, and keeps answers for so many seconds.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connect(address: &str, store: Arc<dyn Store>, ttl_secs: u64) -> anyhow::Result<Self> {
        let client = redis::Client::open(address).context("the address of the Redis server")?;
        let connection = client.get_multiplexed_async_connection().await?;
        Ok(Self {
            store: Counted::around(store),
            connection,
            ttl_secs,
        })
    }

    /// Bytes that the server has allocated, by its own count.
    ///
    /// # Errors
    /// When the server does not answer, or tells no such figure.
    pub async fn used_memory(&self) -> anyhow::Result<usize> {
        let mut connection = self.connection.clone();
        let told: String = redis::cmd("INFO")
            .arg("memory")
            .query_async(&mut connection)
            .await?;
        let used = told.lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used.context("the server tells no used_memory")?.trim().parse()?)
    }

    async fn cached(&self, keys: &[Vec<u8>]) -> anyhow::Result<Vec<Option<Plain>>> {
        let mut connection = self.connection.clone();
        let values: Vec<Option<Vec<u8>>> = connection.mget(keys).await?;
        let read = |value: Option<Vec<u8>>| value.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        Ok(values.into_iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn keep(&self, entries: &[(&[u8], &Plain)]) -> anyhow::Result<()> {
        let mut pipeline = redis::pipe();
        for (key, answer) in entries {
            pipeline
                .set_ex(*key, serde_json::to_vec(answer)?, self.ttl_secs)
                .ignore();
        }
        let mut connection = self.connection.clone();
        Ok(pipeline.query_async(&mut connection).await?)
    }

    async fn questions(&self, tenant: &TenantId, questions: &[Question]) -> anyhow::Result<Outcome> {
        let keys: Vec<Vec<u8>> = questions
            .iter()
            .map(|question| Key::new(tenant, question).as_bytes().to_vec())
            .collect();
        let mut answers = self.cached(&keys).await?;
        let missing: Vec<usize> = (0..answers.len()).filter(|at| answers[*at].is_none()).collect();
        let hit = missing.is_empty();
        if !hit {
            let asked: Vec<Question> = missing.iter().map(|at| questions[*at].clone()).collect();
            let found = found(&*self.store, tenant, &asked).await?;
            let loaded: Vec<Plain> = found
                .into_iter()
                .map(|found| Plain::from(&reply(found)))
                .collect();
            let entries: Vec<(&[u8], &Plain)> = missing
                .iter()
                .map(|at| keys[*at].as_slice())
                .zip(&loaded)
                .collect();
            self.keep(&entries).await?;
            for (at, answer) in missing.into_iter().zip(loaded) {
                answers[at] = Some(answer);
            }
        }
        Ok(Outcome {
            hit,
            shown: Shown::Plain(answers.into_iter().flatten().collect()),
        })
    }

    async fn traversal(&self, tenant: &TenantId, operation: &Operation) -> anyhow::Result<Outcome> {
        let mut key = TRAVERSAL.to_vec();
        for question in operation.questions() {
            key.extend_from_slice(Key::new(tenant, &question).as_bytes());
        }
        let keys = [key];
        if let Some(answer) = self.cached(&keys).await?.pop().flatten() {
            let shown = Shown::Plain(vec![answer]);
            return Ok(Outcome { hit: true, shown });
        }
        let Shown::Traversal(_, details) = ask(&*self.store, tenant, operation).await? else {
            anyhow::bail!("a traversal was answered with something else");
        };
        let answer = Plain::Rows(details.iter().map(|ci| Row::from(&**ci)).collect());
        self.keep(&[(&keys[0], &answer)]).await?;
        let shown = Shown::Plain(vec![answer]);
        Ok(Outcome { hit: false, shown })
    }
}

#[async_trait]
impl Arm for RedisAside {
    fn name(&self) -> &'static str {
        names::REDIS
    }

    async fn run(&self, tenant: &TenantId, operation: &Operation) -> anyhow::Result<Outcome> {
        match operation {
            Operation::One(question) => self.questions(tenant, std::slice::from_ref(question)).await,
            Operation::Page(questions) => self.questions(tenant, questions).await,
            Operation::Traverse(_) => self.traversal(tenant, operation).await,
        }
    }

    async fn forget(&self) -> anyhow::Result<()> {
        let mut connection = self.connection.clone();
        Ok(redis::cmd("FLUSHDB").query_async(&mut connection).await?)
    }

    async fn write(&self, record: CiRecord) -> anyhow::Result<()> {
        let gets = [Get::new(record.code.clone()), Get::new(record.insert_id())];
        let tenant = record.tenant.clone();
        write(&*self.store, record).await?;
        let keys: Vec<Vec<u8>> = gets
            .map(|get| Key::new(&tenant, &Question::Get(get)).as_bytes().to_vec())
            .into();
        let mut connection = self.connection.clone();
        let _deleted: u64 = connection.del(keys).await?;
        Ok(())
    }

    fn counts(&self) -> Counts {
        self.store.counts()
    }
}
