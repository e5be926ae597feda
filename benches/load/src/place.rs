//! Where is asked: a database with data in it, and its name in a run file.

use anyhow::{Context as _, anyhow};
use ci_benches::{Content, Loaded};

/// What a database is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// A generated estate of so many CIs.
    Estate(u64),
    /// The CIs of such an estate, without relations.
    Cis(u64),
    /// The real graph that lies beside the repository.
    Real,
}

impl Data {
    /// The real graph where it is there, otherwise an estate of about its size.
    pub fn real_or_generated() -> Self {
        ci_benches::real_folder().map_or(Self::Estate(60_000), |_| Self::Real)
    }

    /// Its name in a run file.
    pub fn name(self) -> String {
        match self {
            Self::Estate(size) | Self::Cis(size) => format!("estate of {size}"),
            Self::Real => "debian-main".to_owned(),
        }
    }
}

/// Which databases there are.
#[derive(Debug, Clone)]
pub struct Servers {
    /// The address of a PostgreSQL server, where one is to be measured.
    pub postgres: Option<String>,
    /// The address of a Redis server, where one was found.
    pub redis: Option<String>,
}

impl Servers {
    /// The servers that `cargo xtask bench` has started, as it names them in the environment.
    pub fn from_environment() -> Self {
        let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            postgres: named("CI_CACHE_TEST_POSTGRES"),
            redis: named("CI_CACHE_TEST_REDIS"),
        }
    }

    /// None: SQLite alone.
    pub fn none() -> Self {
        Self {
            postgres: None,
            redis: None,
        }
    }

    /// Fills a database of each kind.
    ///
    /// # Errors
    /// When one cannot be made.
    pub async fn fill(&self, data: Data) -> anyhow::Result<Vec<Loaded>> {
        let (size, content) = match data {
            Data::Estate(size) => (size, Content::All),
            Data::Cis(size) => (size, Content::CisAlone),
            Data::Real => (0, Content::All),
        };
        let failed = |error: Box<dyn std::error::Error>| anyhow!("cannot fill a database: {error}");
        let mut places = vec![ci_benches::sqlite_with(size, content).await.map_err(failed)?];
        if let Some(server) = &self.postgres {
            places.push(
                ci_benches::postgres(server, size, content)
                    .await
                    .map_err(failed)?,
            );
        }
        if data == Data::Real {
            let folder = ci_benches::real_folder().context("the real graph is not there")?;
            for place in &places {
                ci_benches::import_real(place, &folder).await.map_err(failed)?;
            }
        }
        Ok(places)
    }
}
