//! The lock between plain threads, and the two compares. (Every interleaving of the lock: `models`.)

use super::*;

/// Reads until the lock is biased.
fn make_quiet(lock: &BiasedLock<u64>, stripes: &Stripes) {
    for _ in 0..=QUIET_READS {
        lock.look(stripes, |_, _| ((), 0));
    }
}

#[test]
fn quiet_reads_bias_the_lock_and_a_write_takes_the_bias_back() {
    let (lock, stripes) = (BiasedLock::new(1), Stripes::new());
    make_quiet(&lock, &stripes);
    let access = lock.look(&stripes, |&value, access| ((value, access), 1));
    if barrier::is_available() && stripes.mine().is_some() {
        assert_eq!(access, (1, Access::Beside));
        assert_eq!(stripes.counts().0, 1);
    }
    lock.write(&stripes, |value| *value = 2);
    assert_eq!(
        lock.look(&stripes, |&value, access| ((value, access), 0)),
        (2, Access::Alone)
    );
}

#[test]
fn a_panicking_reader_or_writer_leaves_the_lock_usable() {
    let (lock, stripes) = (BiasedLock::new(1), Stripes::new());
    for _ in 0..2 {
        let caught = std::panic::AssertUnwindSafe(|| {
            lock.look(&stripes, |_, _| -> ((), u64) { panic!("reader") });
        });
        assert!(std::panic::catch_unwind(caught).is_err());
        let caught = std::panic::AssertUnwindSafe(|| lock.write(&stripes, |_| panic!("writer")));
        assert!(std::panic::catch_unwind(caught).is_err());
        lock.write(&stripes, |value| *value += 1);
        make_quiet(&lock, &stripes);
    }
    assert_eq!(lock.look(&stripes, |&value, _| (value, 0)), 3);
}

#[test]
fn threads_that_read_and_write_lose_no_update() {
    let (lock, stripes) = (BiasedLock::new([0_u64; 2]), Stripes::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..20_000 {
                    if round % 2_500 == 0 {
                        lock.write(&stripes, |pair| pair.iter_mut().for_each(|half| *half += 1));
                    }
                    lock.look(&stripes, |pair, _| (assert_eq!(pair[0], pair[1]), 1));
                }
            });
        }
    });
    assert_eq!(lock.look(&stripes, |pair, _| (pair[0], 0)), 32);
}

#[test]
fn both_compares_agree() {
    for byte in [0, 1, 127, 128, 255] {
        for seed in 0..2_000_u64 {
            let word = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let words = [word & 0x00FF_FF80_7F01_FFFF, word.rotate_left(17) | 0xFF00];
            assert_eq!(match_byte(words, byte), match_byte_portable(words, byte));
        }
    }
}

/// Under AddressSanitizer alone: a run in which nobody watches proves nothing.
#[cfg(asan)]
#[test]
fn a_planted_read_of_freed_memory_is_noticed() {
    const CHILD: &str = "CI_CACHE_ASAN_CHILD";
    if std::env::var_os(CHILD).is_some() {
        panic!("nobody noticed it, and read {}", read_freed_memory());
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "raw::tests::a_planted_read_of_freed_memory_is_noticed",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("AddressSanitizer: heap-use-after-free"), "{said}");
}
