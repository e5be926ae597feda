//! The estate keeps its promises: stable bytes, unique codes, sound relations, every subtype.

use std::collections::{BTreeSet, HashSet};

use ci_bench::Estate;
use ci_model::{CiDraft, RelationDraft, TenantId};

/// FNV-1a, so that the bytes are pinned without a file of them.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn lines(estate: Estate) -> (Vec<u8>, Vec<u8>) {
    let (mut cis, mut relations) = (Vec::new(), Vec::new());
    assert_eq!(
        estate.write_cis(&mut cis).expect("CIs are written"),
        estate.size()
    );
    let written = estate
        .write_relations(&mut relations)
        .expect("relations are written");
    assert_eq!(written, estate.relations().map(|_| 1).sum::<u64>());
    (cis, relations)
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_ever() {
    let (cis, relations) = lines(Estate::new(42, 2_000));
    assert_eq!(lines(Estate::new(42, 2_000)), (cis.clone(), relations.clone()));
    assert_eq!(
        (hash(&cis), hash(&relations)),
        (0xb924_2616_963e_0ff1, 0x5c39_713b_7cd4_0324),
        "the estate changed: every figure that was measured on it is void"
    );
    assert_ne!(lines(Estate::new(43, 2_000)).0, cis);
}

#[test]
fn a_smaller_estate_is_the_beginning_of_a_larger_one() {
    let large: Vec<CiDraft> = Estate::new(3, 500).cis().collect();
    for size in [0, 1, 10, 57, 499] {
        let small: Vec<CiDraft> = Estate::new(3, size as u64).cis().collect();
        assert_eq!(small, large[..size]);
    }
}

#[test]
fn codes_are_unique_and_relations_sound_at_every_size() {
    let sizes = (0..80).chain([333, 2_000, 20_000]);
    for (seed, size) in sizes.enumerate() {
        let estate = Estate::new(seed as u64, size);
        let codes: HashSet<String> = estate.cis().map(|ci| ci.ci_code).collect();
        assert_eq!(codes.len() as u64, size, "seed {seed}, size {size}");
        let mut seen = HashSet::new();
        for relation in estate.relations() {
            assert_ne!(relation.from, relation.to);
            assert!(codes.contains(&relation.from), "{relation:?}");
            assert!(codes.contains(&relation.to), "{relation:?}");
            let RelationDraft {
                from, to, rel_type, ..
            } = relation;
            assert!(seen.insert((from, to, rel_type)), "a relation occurs twice");
        }
    }
}

#[test]
fn a_few_hundred_cis_have_every_subtype_and_relation_type() {
    for seed in 0..20 {
        let estate = Estate::new(seed, 200);
        let subtypes: BTreeSet<String> = estate.cis().filter_map(|ci| ci.ci_subtype).collect();
        let expected = [
            "app",
            "business_system",
            "control_system",
            "db",
            "monitoring_system",
            "network",
            "os",
            "security",
            "server",
            "storage",
            "was",
            "web",
        ];
        assert!(subtypes.iter().eq(expected), "{subtypes:?}");
        let types: BTreeSet<String> = estate.relations().map(|relation| relation.rel_type).collect();
        let expected = [
            "COMPOSED_OF",
            "CONNECTED_TO",
            "DEPENDS_ON",
            "DEPLOYED_ON",
            "MONITORS",
            "PROTECTED_BY",
            "RUNS_ON",
            "USES",
        ];
        assert!(types.iter().eq(expected), "{types:?}");
    }
}

#[test]
fn every_line_is_accepted_and_reads_back_as_its_draft() {
    let tenant = TenantId::new("demo").unwrap();
    let estate = Estate::new(9, 1_000);
    let (cis, relations) = lines(estate);
    let text = String::from_utf8(cis).unwrap();
    for (line, draft) in text.lines().zip(estate.cis()) {
        let read: CiDraft = serde_json::from_str(line).unwrap();
        assert_eq!(read, draft);
        draft.check(&tenant).unwrap();
    }
    let text = String::from_utf8(relations).unwrap();
    for (line, draft) in text.lines().zip(estate.relations()) {
        let read: RelationDraft = serde_json::from_str(line).unwrap();
        assert_eq!(read, draft);
        draft.check(&tenant).unwrap();
    }
    assert!(text.is_ascii() && estate.cis().any(|ci| !ci.location.unwrap_or_default().is_ascii()));
}

#[test]
fn everybody_needs_the_login() {
    let estate = Estate::new(1, 3_000);
    let users = estate
        .relations()
        .filter(|r| r.to == "app-iam-login-01-1")
        .count();
    assert!(users > 100, "{users}");
}
