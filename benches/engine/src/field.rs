//! The field: which contenders start in which measurement.

use crate::contender::{HitSlice, LoadSlice, MixedSlice, Setup, Value};
use crate::key::Key;
use ci_cache_core::Eviction;

use crate::ours::{self, Ours};
use crate::peers::{Dash, Mini, Moka, Plain, Quick, Stretto, Timed};
use crate::peers::{dash, mini, moka, plain, quick, stretto, timed};

/// How a contender is built.
pub(crate) type Builder<S> = fn(Setup) -> anyhow::Result<Box<S>>;

/// Every peer that evicts, under its name, as a list of [`Builder`]s of the given trait object.
macro_rules! peers {
    ($slice:ty, $key:ty, $value:ty) => {{
        use $crate::contender::Setup;
        use $crate::field::Builder;
        use $crate::peers::{Foyer, Mini, Moka, Quick, Tiny, foyer, mini, moka, quick, tiny};
        let peers: [(&'static str, Builder<$slice>); 7] = [
            (quick::NAME, |setup: Setup| {
                Ok(Box::new(Quick::<$key, $value>::new(setup)?))
            }),
            (moka::NAME, |setup: Setup| {
                Ok(Box::new(Moka::<$key, $value>::new(setup)))
            }),
            (mini::NAME, |setup: Setup| {
                Ok(Box::new(Mini::<$key, $value>::new(setup)))
            }),
            (foyer::POLICIES[0].0, |setup: Setup| {
                Ok(Box::new(Foyer::<$key, $value>::new(setup, foyer::POLICIES[0].1)))
            }),
            (foyer::POLICIES[1].0, |setup: Setup| {
                Ok(Box::new(Foyer::<$key, $value>::new(setup, foyer::POLICIES[1].1)))
            }),
            (foyer::POLICIES[2].0, |setup: Setup| {
                Ok(Box::new(Foyer::<$key, $value>::new(setup, foyer::POLICIES[2].1)))
            }),
            (tiny::NAME, |setup: Setup| {
                Ok(Box::new(Tiny::<$key, $value>::new(setup)))
            }),
        ];
        peers
    }};
}
pub(crate) use peers;

/// A contender under its name.
pub(crate) struct Named<S: ?Sized> {
    /// What tables call it.
    pub(crate) name: &'static str,
    /// Whether threads may share it.
    pub(crate) shared: bool,
    /// The contender itself.
    pub(crate) slice: Box<S>,
}

fn named<S: ?Sized>(name: &'static str, slice: Box<S>) -> Named<S> {
    Named {
        name,
        shared: true,
        slice,
    }
}

/// All caches but stretto, whose evictions take too long; ours with expiry, which the others have to do without.
pub(crate) fn caches<K: Key>(setup: Setup) -> anyhow::Result<Vec<Named<dyn MixedSlice<K>>>> {
    let ours = Ours::new(setup.with_ttl(), Eviction::Adaptive)?;
    let mut field: Vec<Named<dyn MixedSlice<K>>> = vec![named(ours::NAME, Box::new(ours))];
    for (name, build) in peers!(dyn MixedSlice<K>, K, Value) {
        field.push(named(name, build(setup)?));
    }
    Ok(field)
}

/// All caches, stretto too, and the map that threads can share, filled with `keys`.
pub(crate) fn resident<K: Key>(keys: &[K]) -> anyhow::Result<Vec<Named<dyn MixedSlice<K>>>> {
    let setup = Setup::roomy(keys.len());
    let mut field = caches(setup)?;
    field.push(named(stretto::NAME, Box::new(Stretto::new(setup)?)));
    field.push(named(dash::NAME, Box::new(Dash::new(setup))));
    field.iter().for_each(|contender| contender.slice.fill(keys));
    Ok(field)
}

/// All that can be read, filled with `keys`.
pub(crate) fn hits<K: Key>(keys: &[K]) -> anyhow::Result<Vec<Named<dyn HitSlice<K>>>> {
    let mut field: Vec<Named<dyn HitSlice<K>>> = Vec::new();
    for contender in resident(keys)? {
        field.push(named(contender.name, contender.slice));
    }
    let plain: Box<dyn HitSlice<K>> = Box::new(Plain::filled(keys));
    field.push(Named {
        shared: false,
        ..named(plain::NAME, plain)
    });
    Ok(field)
}

/// The same cache without and with expiry, under its name.
pub(crate) type Pair<K> = (&'static str, [Box<dyn HitSlice<K>>; 2]);

/// Pairs of the same cache without and with expiry, filled with `keys`.
pub(crate) fn expiring<K: Key>(keys: &[K]) -> anyhow::Result<Vec<Pair<K>>> {
    fn filled<K: Key, C: MixedSlice<K> + 'static>(cache: C, keys: &[K]) -> Box<dyn HitSlice<K>> {
        cache.fill(keys);
        Box::new(cache)
    }
    let off = Setup::roomy(keys.len());
    let on = off.with_ttl();
    let ours = |setup| anyhow::Ok(filled(Ours::<K, Value>::new(setup, Eviction::Adaptive)?, keys));
    let stretto = |setup| anyhow::Ok(filled(Stretto::<K, Value>::new(setup)?, keys));
    Ok(vec![
        (ours::NAME, [ours(off)?, ours(on)?]),
        (
            timed::NAME,
            [
                filled(Quick::<K, Value>::new(off)?, keys),
                filled(Timed::<K, Value>::new(on)?, keys),
            ],
        ),
        (
            moka::NAME,
            [
                filled(Moka::<K, Value>::new(off), keys),
                filled(Moka::<K, Value>::new(on), keys),
            ],
        ),
        (
            mini::NAME,
            [
                filled(Mini::<K, Value>::new(off), keys),
                filled(Mini::<K, Value>::new(on), keys),
            ],
        ),
        (stretto::NAME, [stretto(off)?, stretto(on)?]),
    ])
}

/// All caches whose look-up can load without a runtime, filled with `keys`; ours with expiry.
pub(crate) fn loading<K: Key>(keys: &[K]) -> anyhow::Result<Vec<Named<dyn LoadSlice<K>>>> {
    fn filled<K: Key, C: MixedSlice<K> + LoadSlice<K> + 'static>(
        cache: C,
        keys: &[K],
    ) -> Box<dyn LoadSlice<K>> {
        cache.fill(keys);
        Box::new(cache)
    }
    let setup = Setup::roomy(keys.len());
    Ok(vec![
        named(quick::NAME, filled(Quick::<K, Value>::new(setup)?, keys)),
        named(
            ours::NAME,
            filled(Ours::<K, Value>::new(setup.with_ttl(), Eviction::Adaptive)?, keys),
        ),
        named(moka::NAME, filled(Moka::<K, Value>::new(setup), keys)),
        named(dash::NAME, filled(Dash::<K, Value>::new(setup), keys)),
    ])
}
