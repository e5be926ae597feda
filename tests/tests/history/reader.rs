//! Those who ask.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ci_model::{Expand, Question, Token};
use ci_runner::{Error, Level, Tenant};
use ci_tests::store_contract::world::{below, seeded};
use rand_chacha::ChaCha8Rng;

use super::pool::{TENANTS, What, tenant};
use super::record::{Read, Seen, Way};
use super::scene::Scene;

/// Whoever waits longer waits for ever.
const STUCK: Duration = Duration::from_secs(60);
/// Lags that readers allow.
const LAGS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(30),
];

/// Asks until there are enough answers; each question ends in one way.
pub(crate) async fn read(scene: Arc<Scene>, seed: u64) -> Vec<Read> {
    let mut reader = Reader {
        random: seeded(seed),
        session: None,
        reads: Vec::new(),
        scene: Arc::clone(&scene),
    };
    while !scene.is_over() {
        let before = reader.reads.len();
        let asked = tokio::time::timeout(STUCK, reader.ask()).await;
        let asked = asked.expect("every question ends");
        let answered = (reader.reads.len() - before) as u64;
        scene.answered.fetch_add(answered, SeqCst);
        if let Err(error) = asked {
            assert!(error.is_transient(), "{error}");
            scene.errors.fetch_add(1, SeqCst);
            scene.pause(Duration::from_millis(1)).await;
        }
    }
    reader.reads
}

struct Reader {
    scene: Arc<Scene>,
    random: ChaCha8Rng,
    /// The last answer's version: this reader's session sees nothing older.
    session: Option<Token>,
    reads: Vec<Read>,
}

impl Reader {
    async fn ask(&mut self) -> Result<(), Error> {
        let level = self.level();
        match below(&mut self.random, 16) {
            0 => self.page(&level).await,
            1 => self.batch(&level).await,
            _ => self.one(&level).await,
        }?;
        if let Some(read) = self.reads.last() {
            self.session.clone_from(&read.as_of);
            if below(&mut self.random, 16) == 0
                && let Some(token) = &read.as_of
            {
                self.scene.pass_on(token.clone());
            }
        }
        Ok(())
    }

    fn level(&mut self) -> Level {
        let random = &mut self.random;
        match below(random, 20) {
            0..9 => Level::Cached {
                max_lag: LAGS[below(random, LAGS.len())],
            },
            9..13 => match self.session.clone() {
                Some(token) => Level::AtLeast(token),
                None => Level::Strong,
            },
            13..16 => match self.scene.token(random) {
                // As it comes back from a caller.
                Some(token) => Level::AtLeast(token.to_string().parse().unwrap()),
                None => Level::Strong,
            },
            16..19 => Level::Strong,
            _ => Level::Bypass,
        }
    }

    async fn one(&mut self, level: &Level) -> Result<(), Error> {
        let at = self.scene.pool.draw(&mut self.random);
        let scene = Arc::clone(&self.scene);
        let asked = &scene.pool.all[at];
        let tenant = scene.runner.tenant(asked.tenant.clone()).at(level.clone());
        let began = Instant::now();
        let read = match &asked.what {
            What::Plain(Question::Expand(expand)) if below(&mut self.random, 3) == 0 => {
                traverse(&tenant, expand, at, began).await?
            }
            What::Plain(question) => ask(&tenant, question, at, began).await?,
            What::Fallback(search, _) => {
                let answer = tenant.search(search).await?;
                let mut read = Read::of(at, level, began, answer.clone());
                read.seen = Seen::Found(answer.value);
                read
            }
        };
        self.reads.push(read);
        Ok(())
    }

    /// Several questions about one tenant, all to be true at one state.
    async fn page(&mut self, level: &Level) -> Result<(), Error> {
        let owner = tenant(TENANTS[below(&mut self.random, TENANTS.len())]);
        let (mut asked, mut questions) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            let at = self.scene.pool.draw(&mut self.random);
            let drawn = &self.scene.pool.all[at];
            if let (What::Plain(question), true) = (&drawn.what, drawn.tenant == owner) {
                asked.push(at);
                questions.push(question.clone());
            }
            if questions.len() == 4 {
                break;
            }
        }
        let began = Instant::now();
        let page = self
            .scene
            .runner
            .tenant(owner)
            .at(level.clone())
            .page(questions)
            .await?;
        assert_eq!(page.answers.len(), asked.len());
        for (at, reply) in asked.into_iter().zip(page.answers) {
            self.reads.push(Read {
                asked: at,
                way: Way::Page,
                level: level.clone(),
                began,
                source: page.source,
                as_of: page.as_of.clone(),
                lag: page.lag,
                seen: reply.into(),
            });
        }
        Ok(())
    }

    async fn batch(&mut self, level: &Level) -> Result<(), Error> {
        let owner = tenant(TENANTS[below(&mut self.random, TENANTS.len())]);
        let all = self.scene.pool.all.iter().enumerate();
        let gets = all.filter_map(|(at, asked)| match &asked.what {
            What::Plain(Question::Get(get)) if asked.tenant == owner => Some((at, get.clone())),
            _ => None,
        });
        let (asked, gets): (Vec<_>, Vec<_>) = gets.filter(|_| below(&mut self.random, 2) == 0).unzip();
        let began = Instant::now();
        let tenant = self.scene.runner.tenant(owner).at(level.clone());
        let answers = tenant.get_many(&gets).await?;
        assert_eq!(answers.len(), gets.len());
        for (at, answer) in asked.into_iter().zip(answers) {
            let mut read = Read::of(at, level, began, answer);
            read.way = Way::Batch;
            self.reads.push(read);
        }
        Ok(())
    }
}

async fn ask(tenant: &Tenant, question: &Question, at: usize, began: Instant) -> Result<Read, Error> {
    let level = tenant.level();
    Ok(match question {
        Question::Get(get) => Read::of(at, level, began, tenant.get(get).await?),
        Question::Search(search) => Read::of(at, level, began, tenant.search_strict(search).await?),
        Question::List(list) => Read::of(at, level, began, tenant.list(list).await?),
        Question::Aggregate(aggregate) => Read::of(at, level, began, tenant.aggregate(aggregate).await?),
        Question::Expand(expand) => Read::of(at, level, began, tenant.expand(expand).await?),
        Question::Path(path) => Read::of(at, level, began, tenant.path(path).await?),
    })
}

/// Asks for an expansion with all columns of its CIs, which have to be of the same state as the graph.
async fn traverse(tenant: &Tenant, expand: &Expand, at: usize, began: Instant) -> Result<Read, Error> {
    let traversal = tenant.traverse(expand).await?;
    let nodes = traversal.graph.iter().flat_map(|graph| &graph.items);
    let details = traversal.details.iter().map(|ci| &ci.summary);
    assert!(
        nodes.map(|node| &node.ci).eq(details),
        "a graph beside CIs of another state: {traversal:?}"
    );
    Ok(Read {
        asked: at,
        way: Way::Alone,
        level: tenant.level().clone(),
        began,
        source: traversal.source,
        as_of: traversal.as_of,
        lag: traversal.lag,
        seen: traversal.graph.into(),
    })
}
