//! The field: which contenders start in which measurement.

use crate::contender::{HitSlice, MixedSlice, Setup};
use crate::key::Key;
use crate::ours::{self, Ours};
use crate::peers::{Moka, Plain, Quick, moka, plain, quick};

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

/// All contenders that take insertions while they are shared; ours with expiry.
pub(crate) fn mixed<K: Key>(setup: Setup) -> anyhow::Result<Vec<Named<dyn MixedSlice<K>>>> {
    Ok(vec![
        named(quick::NAME, Box::new(Quick::new(setup))),
        named(ours::NAME, Box::new(Ours::new(setup.with_ttl())?)),
        named(moka::NAME, Box::new(Moka::new(setup))),
    ])
}

/// All contenders that can be read, filled with `keys`; ours with expiry.
pub(crate) fn hits<K: Key>(keys: &[K]) -> anyhow::Result<Vec<Named<dyn HitSlice<K>>>> {
    let mut field: Vec<Named<dyn HitSlice<K>>> = Vec::new();
    for contender in mixed::<K>(Setup::roomy(keys.len()))? {
        contender.slice.fill(keys);
        field.push(named(contender.name, contender.slice));
    }
    let plain: Box<dyn HitSlice<K>> = Box::new(Plain::filled(keys));
    field.push(Named {
        shared: false,
        ..named(plain::NAME, plain)
    });
    Ok(field)
}
