//! The engine alone, as a cache for anything: `cargo run -p ci-cache-core --example general_cache`

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use ci_cache_core::{Cache, LookupOptions, ManualClock, Scope};

type Pages = Cache<String, Arc<str>, std::num::ParseIntError>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A clock that stands still, so that this program can move it; a service takes `SystemClock`.
    let clock = Arc::new(ManualClock::new());
    let pages: Pages = Pages::builder(10_000, clock.clone())
        .default_ttl(Duration::from_secs(60))
        .build()?;

    // Ten threads, one load: the others wait for it.
    let (loads, start) = (AtomicU32::new(0), Barrier::new(10));
    std::thread::scope(|threads| {
        for _ in 0..10 {
            threads.spawn(|| {
                start.wait();
                let page = pages.get_or_load("front", LookupOptions::new(), || {
                    loads.fetch_add(1, Ordering::Relaxed);
                    Ok(Arc::from("<h1>Front</h1>"))
                });
                assert_eq!(page.as_deref(), Ok("<h1>Front</h1>"));
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);

    // What belongs together is forgotten together, in constant time; a load that is overtaken by it is answered and not kept.
    let catalogue = Scope::new();
    for name in ["shoes", "hats"] {
        pages.get_or_load(name, LookupOptions::new().scope(&catalogue), || {
            Ok(Arc::from(name))
        })?;
    }
    catalogue.invalidate();
    assert!(!pages.contains("shoes") && !pages.contains("hats") && pages.contains("front"));

    // A failed load is its callers' error and is not kept.
    let failed = pages.get_or_load("broken", LookupOptions::new(), || {
        "x".parse::<u32>().map(|_| Arc::from(""))
    });
    assert!(failed.is_err() && !pages.contains("broken"));

    // Nothing is served beyond its time to live.
    clock.advance(Duration::from_secs(61));
    assert!(pages.get("front").is_none());

    let stats = pages.stats();
    assert_eq!(
        (stats.loads, stats.load_failures, stats.coalesced + stats.hits),
        (4, 1, 9)
    );
    Ok(())
}

#[test]
fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
